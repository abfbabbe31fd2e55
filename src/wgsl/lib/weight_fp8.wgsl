// fp8: e4m3 bytes and an f32 scale for GROUP columns of a row. The library e4m3 gives e4m3x4, which divides by 256.
// --- specialised ---
const GROUP: u32 = 128u;  // a multiple of 32, or at least a whole row

const OFFSET: f32 = 0.0;
const REACH: f32 = 1.75;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 8u + (cols + GROUP - 1u) / GROUP);
  let at = base / 4u + unit * 2u;
  let scale = fetch_word(source, base + units * 8u + unit * 32u / GROUP);
  return Words(fetch(source, at), fetch(source, at + 1u), vec4<u32>(scale, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  return Unit(w.lo, w.hi, vec2<f32>(bitcast<f32>(w.scales.x) * 256.0), vec2<f32>(0.0));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  if (j < 2u) {
    return Block8(e4m3x4(u.lo[j * 2u]), e4m3x4(u.lo[j * 2u + 1u]));
  }
  return Block8(e4m3x4(u.hi[j * 2u - 4u]), e4m3x4(u.hi[j * 2u - 3u]));
}
