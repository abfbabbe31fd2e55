// Staged compressed weights behind x, from W0 on (multiply_half).

// Eight columns into block `at`, of which the second four come first where `turned` is 1.
fn keep_quads(at: u32, b: vec4<u32>, turned: u32) {
  xs[W0 + at] = select(b, b.zwxy, turned == 1u);
}
