// The levels of iq4_nl and iq4_xs: each with 128 added, four to a word.
fn level_of(n: u32) -> f32 {
  let low = select(0x3f2d1801u, 0x766a5d4fu, (n & 4u) != 0u);
  let high = select(0xa6998d81u, 0xf1d9c5b5u, (n & 4u) != 0u);
  let levels = select(low, high, (n & 8u) != 0u);
  return small_float((levels >> (8u * (n & 3u))) & 255u) - 128.0;
}
