// Levels that 4-bit integers choose, computed for each (level_of, levels_*).
fn raw8(u: Unit, j: u32) -> Block8 {
  let v = (u.lo[j] >> 2u) | (u.lo[j] << 30u);
  return Block8(
    vec4<f32>(level_of(v & 15u), level_of((v >> 4u) & 15u), level_of((v >> 8u) & 15u), level_of((v >> 12u) & 15u)),
    vec4<f32>(
      level_of((v >> 16u) & 15u), level_of((v >> 20u) & 15u), level_of((v >> 24u) & 15u), level_of(v >> 28u)),
  );
}
