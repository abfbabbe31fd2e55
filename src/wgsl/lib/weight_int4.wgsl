// int4: 4 bits, and a word for GROUP columns of a row: a scale, whose last four bits are the zero point.
// --- specialised ---
const GROUP: u32 = 32u;  // a multiple of 32, or at least a whole row

const OFFSET: f32 = 16.0;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = true;

fn load_unit(source: u32, cols: u32, row: u32, unit: u32) -> Unit {
  let units = units_of(cols);
  let base = row * whole_row(units * 4u + (cols + GROUP - 1u) / GROUP);
  let group = fetch_word(source, base + units * 4u + unit * 32u / GROUP);
  let scale = bitcast<f32>(group & 0xfffffff0u);
  return Unit(
    fetch(source, base / 4u + unit), vec4<u32>(0u), vec2<f32>(scale), vec2<f32>(small_float(group & 15u)));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  return nibbles8(u.lo[j]);
}
