// Activations in blocks of 8, as weights are read. The kernel gives K, BLOCKS, X_STRIDE and x: array<vec4<f32>>.
fn load_x8(row: u32, block: u32) -> Block8 {
  let at = row * (X_STRIDE / 4u) + block * 2u;
  var b = Block8(x[at], x[at + 1u]);
  if (K % 8u != 0u && block == BLOCKS - 1u) {
    // What lies beyond K is padding that nobody wrote.
    let k = vec4<u32>(0u, 1u, 2u, 3u);
    b.lo = select(vec4<f32>(0.0), b.lo, k < vec4<u32>(K % 8u));
    b.hi = select(vec4<f32>(0.0), b.hi, k + vec4<u32>(4u) < vec4<u32>(K % 8u));
  }
  return b;
}

fn dot8(a: Block8, b: Block8) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}
