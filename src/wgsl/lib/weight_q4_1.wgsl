// q4_1: 4 bits, an f16 scale and an f16 shift for 32.
const OFFSET: f32 = 16.0;
const REACH: f32 = 15.0;
const HALVES: bool = false;
const SHIFTED: bool = true;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 4u + units);
  let pair = fetch_word(source, base + units * 4u + unit);
  return Words(fetch(source, base / 4u + unit), vec4<u32>(0u), vec4<u32>(pair, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  let pair = unpack2x16float(w.scales.x);
  return Unit(w.lo, w.hi, vec2<f32>(pair.x), vec2<f32>(pair.y));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  return nibbles8(u.lo[j]);
}
