// iq4_nl: 4 bits that choose one of 16 uneven levels, and an f16 scale for 32.
const OFFSET: f32 = 0.0;
const REACH: f32 = 127.0;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 4u + (units + 1u) / 2u);
  let scale = fetch_word(source, base + units * 4u + unit / 2u);
  return Words(fetch(source, base / 4u + unit), vec4<u32>(0u), vec4<u32>(scale, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  return Unit(w.lo, w.hi, vec2<f32>(half_of(w.scales.x, unit)), vec2<f32>(0.0));
}

// Levels of iq4_nl, each with 128 added, four to a word.
fn iq4_level(n: u32) -> f32 {
  let low = select(0x3f2d1801u, 0x766a5d4fu, (n & 4u) != 0u);
  let high = select(0xa6998d81u, 0xf1d9c5b5u, (n & 4u) != 0u);
  let levels = select(low, high, (n & 8u) != 0u);
  return small_float((levels >> (8u * (n & 3u))) & 255u) - 128.0;
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let v = (u.lo[j] >> 2u) | (u.lo[j] << 30u);
  return Block8(
    vec4<f32>(iq4_level(v & 15u), iq4_level((v >> 4u) & 15u), iq4_level((v >> 8u) & 15u), iq4_level((v >> 12u) & 15u)),
    vec4<f32>(
      iq4_level((v >> 16u) & 15u), iq4_level((v >> 20u) & 15u), iq4_level((v >> 24u) & 15u), iq4_level(v >> 28u)),
  );
}
