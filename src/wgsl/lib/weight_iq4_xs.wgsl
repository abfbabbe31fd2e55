// iq4_xs: 4 bits that choose one of 16 uneven levels; for 32 columns a scale of 6 bits, less 32, and an f16 scale of those
// for 256.
const OFFSET: f32 = 0.0;
const REACH: f32 = 127.0;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let blocks = units / 8u;
  let base = row * whole_row(blocks * 34u);
  let at = base + blocks * 32u + unit / 8u * 2u;
  let scales = vec4<u32>(fetch_word(source, at), fetch_word(source, at + 1u), 0u, 0u);
  return Words(fetch(source, base / 4u + unit), vec4<u32>(0u), scales);
}

fn unit_of(w: Words, unit: u32) -> Unit {
  let part = unit % 8u;
  let low = (w.scales.y >> (4u * part)) & 15u;
  let high = (w.scales.x >> (16u + 2u * part)) & 3u;
  let scale = unpack2x16float(w.scales.x).x * (small_float(low | (high << 4u)) - 32.0);
  return Unit(w.lo, w.hi, vec2<f32>(scale), vec2<f32>(0.0));
}
