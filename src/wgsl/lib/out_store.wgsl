// Results are stored: y[row, n .. n + count) = v.
fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  let at = row * params.y_stride + n;
  for (var i = 0u; i < count; i++) {
    y[at + i] = v[i];
  }
}
