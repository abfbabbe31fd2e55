// Rows 2f and 2f + 1 of the weights are gate f and up f: y[row, f] = swiglu(gate, up). n and count are even.
fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  let at = row * params.y_stride + n / 2u;
  y[at] = swiglu(v.x, v.y);
  if (count > 2u) {
    y[at + 1u] = swiglu(v.z, v.w);
  }
}
