// iq4_nl: 4 bits that choose one of 16 uneven levels, and an f16 scale for 32.
const OFFSET: f32 = 0.0;
const REACH: f32 = 127.0;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 4u + (units + 1u) / 2u);
  let scale = fetch_word(source, base + units * 4u + unit / 2u);
  return Words(fetch(source, base / 4u + unit), vec4<u32>(0u), vec4<u32>(scale, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  return Unit(w.lo, w.hi, vec2<f32>(half_of(w.scales.x, unit)), vec2<f32>(0.0));
}
