// q5_0: 5 bits in planes of 4 and 1, less 16, and an f16 scale for 32.
const OFFSET: f32 = 80.0;
const REACH: f32 = 16.0;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 5u + (units + 1u) / 2u);
  let high = fetch_word(source, base + units * 4u + unit);
  let scale = fetch_word(source, base + units * 5u + unit / 2u);
  return Words(fetch(source, base / 4u + unit), vec4<u32>(high, 0u, 0u, 0u), vec4<u32>(scale, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  return Unit(w.lo, w.hi, vec2<f32>(half_of(w.scales.x, unit)), vec2<f32>(0.0));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let h = u.hi.x >> (4u * j);
  let high = vec4<u32>(h << 8u, h << 7u, h << 6u, h << 5u) & vec4<u32>(0x01000100u);
  return nibbles8_with(u.lo[j], high);
}
