// The same as out_swiglu, as binary16 (half_four). n is a multiple of four, and count is four.
fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  let both = half_four(vec4<f32>(swiglu(v.x, v.y), swiglu(v.z, v.w), 0.0, 0.0));
  y[(row * params.y_stride + n / 2u) / 2u] = both.x;
}
