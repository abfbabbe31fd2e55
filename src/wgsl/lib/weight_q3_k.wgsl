// q3_k: 3 bits in planes of 2 and 1, less 4; for 16 columns a scale of 6 bits, less 32, and an f16 scale of those for 256.
const OFFSET: f32 = 12.0;
const REACH: f32 = 4.0;
const HALVES: bool = true;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let blocks = units / 8u;
  let base = row * whole_row(blocks * 27u + (blocks + 1u) / 2u);
  let at = base + unit * 2u;
  let scales = base + blocks * 24u + unit / 8u * 3u;
  return Words(
    vec4<u32>(fetch_word(source, at), fetch_word(source, at + 1u), 0u, 0u),
    vec4<u32>(fetch_word(source, base + units * 2u + unit), 0u, 0u, 0u),
    vec4<u32>(
      fetch_word(source, scales + unit % 4u / 2u),
      fetch_word(source, scales + 2u),
      fetch_word(source, base + blocks * 27u + unit / 16u),
      0u),
  );
}

fn unit_of(w: Words, unit: u32) -> Unit {
  // Scale h of 16: bits 4 (h / 8) of byte h % 8, and bits 2 (h / 4) of byte 8 + h % 4.
  let h = unit % 8u * 2u;
  let low = w.scales.x >> (8u * (h % 4u) + 4u * (h / 8u));
  let high = w.scales.y >> (8u * (h % 4u) + 2u * (h / 4u));
  let scale = vec2<f32>(
    small_float((low & 15u) | ((high & 3u) << 4u)),
    small_float(((low >> 8u) & 15u) | (((high >> 8u) & 3u) << 4u)),
  ) - 32.0;
  return Unit(w.lo, w.hi, half_of(w.scales.z, unit / 8u) * scale, vec2<f32>(0.0));
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let v = select(u.lo.x, u.lo.y, j >= 2u) >> (8u * (j % 2u));
  let h = u.hi.x >> (4u * j);
  let low = 0x01800180u;
  let high = 0x02000200u;
  let one = 0x48004800u;
  return pairs8(
    ((v << 7u) & low) | ((h << 9u) & high) | one, ((v << 5u) & low) | ((h << 8u) & high) | one,
    ((v << 3u) & low) | ((h << 7u) & high) | one, ((v << 1u) & low) | ((h << 6u) & high) | one);
}
