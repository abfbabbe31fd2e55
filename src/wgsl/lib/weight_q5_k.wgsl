// q5_k: 5 bits in planes of 4 and 1; for 256 columns one 128-bit load of scales: for each 32 a scale and a minimum of 6 bits,
// f16 scales of both.
const OFFSET: f32 = 64.0;
const REACH: f32 = 31.0;
const HALVES: bool = false;
const SHIFTED: bool = true;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * (units / 8u * 11u);
  let high = fetch_word(source, base * 4u + units * 4u + unit);
  return Words(
    fetch(source, base + unit), vec4<u32>(high, 0u, 0u, 0u), fetch(source, base + units * 5u / 4u + unit / 8u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  let s = w.scales;
  let part = unit % 8u;
  let low = (select(s.x, s.y, part >= 4u) >> (8u * (part % 4u))) & 255u;
  let high = (s.z >> (4u * part)) & 15u;
  let d = unpack2x16float(s.w);
  return Unit(
    w.lo,
    w.hi,
    vec2<f32>(d.x * small_float(low & 63u)),
    vec2<f32>(-d.y * small_float((low >> 6u) | (high << 2u))),
  );
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let h = u.hi.x >> (4u * j);
  let high = vec4<u32>(h << 8u, h << 7u, h << 6u, h << 5u) & vec4<u32>(0x01000100u);
  return nibbles8_with(u.lo[j], high);
}
