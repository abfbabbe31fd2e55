// Attention results as they are.
fn gate(token: u32, head: u32) -> f32 {
  return 1.0;
}
