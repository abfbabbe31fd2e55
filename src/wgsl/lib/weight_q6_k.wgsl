// q6_k: 6 bits in planes of 4 and 2, less 32; signed bytes as scales for 16 columns, an f16 scale of those for 256.
const OFFSET: f32 = 96.0;
const HALVES: bool = true;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_unit(source: u32, cols: u32, row: u32, unit: u32) -> Unit {
  let units = units_of(cols);
  let blocks = units / 8u;
  let base = row * whole_row(blocks * 52u + (blocks + 1u) / 2u);
  let pair = fetch_word(source, base + blocks * 48u + unit / 2u) >> (16u * (unit % 2u));
  let d = half_at(source, base + blocks * 52u, unit / 8u);
  // Signed bytes: 128 is added, then taken off.
  let scale = vec2<f32>(small_float((pair & 255u) ^ 128u), small_float(((pair >> 8u) & 255u) ^ 128u)) - 128.0;
  let high = base + blocks * 32u + unit * 2u;
  return Unit(
    fetch(source, base / 4u + unit),
    vec4<u32>(fetch_word(source, high), fetch_word(source, high + 1u), 0u, 0u),
    d * scale,
    vec2<f32>(0.0),
  );
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let h = select(u.hi.x, u.hi.y, j >= 2u) >> (8u * (j % 2u));
  let high = vec4<u32>(h << 8u, h << 6u, h << 4u, h << 2u) & vec4<u32>(0x03000300u);
  return nibbles8_with(u.lo[j], high);
}
