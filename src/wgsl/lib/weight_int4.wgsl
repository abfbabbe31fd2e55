// int4: 4 bits, and a word for GROUP columns of a row: a scale, whose last four bits are the zero point.
// --- specialised ---
const GROUP: u32 = 32u;  // a multiple of 32, or at least a whole row

const OFFSET: f32 = 16.0;
const REACH: f32 = 15.0;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = true;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 4u + (cols + GROUP - 1u) / GROUP);
  let group = fetch_word(source, base + units * 4u + unit * 32u / GROUP);
  return Words(fetch(source, base / 4u + unit), vec4<u32>(0u), vec4<u32>(group, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  let group = w.scales.x;
  let scale = bitcast<f32>(group & 0xfffffff0u);
  return Unit(w.lo, w.hi, vec2<f32>(scale), vec2<f32>(small_float(group & 15u)));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  return nibbles8(u.lo[j]);
}
