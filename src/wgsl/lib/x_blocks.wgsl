// Activations in blocks of 8, as weights are read. The kernel gives K, BLOCKS, X_STRIDE and x: array<vec4<f32>>.
fn load_x8(row: u32, block: u32) -> Block8 {
  let at = row * (X_STRIDE / 4u) + block * 2u;
  let b = Block8(x[at], x[at + 1u]);
  if (K % 8u != 0u && block == BLOCKS - 1u) {
    return begin8(b, K % 8u);
  }
  return b;
}

// The first `count` elements of a block: what lies beyond a row's end is padding that nobody wrote.
fn begin8(b: Block8, count: u32) -> Block8 {
  let k = vec4<u32>(0u, 1u, 2u, 3u);
  return Block8(
    select(vec4<f32>(0.0), b.lo, k < vec4<u32>(count)),
    select(vec4<f32>(0.0), b.hi, k + vec4<u32>(4u) < vec4<u32>(count)),
  );
}

fn dot8(a: Block8, b: Block8) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}
