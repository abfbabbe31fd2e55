// q8_0: bytes, 128 added, and an f16 scale for 32.
const OFFSET: f32 = 1152.0;
const REACH: f32 = 128.0;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 8u + (units + 1u) / 2u);
  let at = base / 4u + unit * 2u;
  let scale = fetch_word(source, base + units * 8u + unit / 2u);
  return Words(fetch(source, at), fetch(source, at + 1u), vec4<u32>(scale, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  return Unit(w.lo, w.hi, vec2<f32>(half_of(w.scales.x, unit)), vec2<f32>(0.0));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  if (j < 2u) {
    return Block8(bytes4(u.lo[j * 2u]), bytes4(u.lo[j * 2u + 1u]));
  }
  return Block8(bytes4(u.hi[j * 2u - 4u]), bytes4(u.hi[j * 2u - 3u]));
}
