// q4_k: 4 bits; for 256 columns one 128-bit load of scales: for each 32 a scale and a minimum of 6 bits,
// f16 scales of both.
const OFFSET: f32 = 16.0;
const REACH: f32 = 15.0;
const HALVES: bool = false;
const SHIFTED: bool = true;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * (units / 8u * 9u);
  return Words(fetch(source, base + unit), vec4<u32>(0u), fetch(source, base + units + unit / 8u));
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
  return nibbles8(u.lo[j]);
}
