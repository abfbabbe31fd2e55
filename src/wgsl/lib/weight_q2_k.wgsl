// q2_k: 2 bits; for 16 columns a scale and a minimum of 4 bits, f16 scales of both for 256.
const OFFSET: f32 = 4.0;
const REACH: f32 = 3.0;
const HALVES: bool = true;
const SHIFTED: bool = true;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let blocks = units / 8u;
  let base = row * whole_row(blocks * 21u);
  let at = base + unit * 2u;
  return Words(
    vec4<u32>(fetch_word(source, at), fetch_word(source, at + 1u), 0u, 0u),
    vec4<u32>(0u),
    vec4<u32>(
      fetch_word(source, base + blocks * 16u + unit / 2u), fetch_word(source, base + blocks * 20u + unit / 8u), 0u, 0u),
  );
}

fn unit_of(w: Words, unit: u32) -> Unit {
  let pair = w.scales.x >> (16u * (unit % 2u));
  let d = unpack2x16float(w.scales.y);
  return Unit(
    w.lo,
    w.hi,
    d.x * vec2<f32>(small_float(pair & 15u), small_float((pair >> 8u) & 15u)),
    -d.y * vec2<f32>(small_float((pair >> 4u) & 15u), small_float((pair >> 12u) & 15u)),
  );
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let v = select(u.lo.x, u.lo.y, j >= 2u) >> (8u * (j % 2u));
  let mask = 0x03000300u;
  let one = 0x44004400u;
  return pairs8(
    ((v << 8u) & mask) | one, ((v << 6u) & mask) | one, ((v << 4u) & mask) | one, ((v << 2u) & mask) | one);
}
