// q6_k: 6 bits in planes of 4 and 2, less 32; signed bytes as scales for 16 columns, an f16 scale of those for 256.
const OFFSET: f32 = 96.0;
const REACH: f32 = 32.0;
const HALVES: bool = true;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let blocks = units / 8u;
  let base = row * whole_row(blocks * 52u + (blocks + 1u) / 2u);
  let high = base + blocks * 32u + unit * 2u;
  return Words(
    fetch(source, base / 4u + unit),
    vec4<u32>(fetch_word(source, high), fetch_word(source, high + 1u), 0u, 0u),
    vec4<u32>(
      fetch_word(source, base + blocks * 48u + unit / 2u), fetch_word(source, base + blocks * 52u + unit / 16u), 0u, 0u),
  );
}

fn unit_of(w: Words, unit: u32) -> Unit {
  let pair = w.scales.x >> (16u * (unit % 2u));
  // Signed bytes: 128 is added, then taken off.
  let scale = vec2<f32>(small_float((pair & 255u) ^ 128u), small_float(((pair >> 8u) & 255u) ^ 128u)) - 128.0;
  return Unit(w.lo, w.hi, half_of(w.scales.y, unit / 8u) * scale, vec2<f32>(0.0));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let h = select(u.hi.x, u.hi.y, j >= 2u) >> (8u * (j % 2u));
  let high = vec4<u32>(h << 8u, h << 6u, h << 4u, h << 2u) & vec4<u32>(0x03000300u);
  return nibbles8_with(u.lo[j], high);
}
