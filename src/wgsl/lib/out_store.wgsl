// Results are stored: y[row, n .. n + count) = v. Written out: a loop that indexes a vector costs a percent.
fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  let at = row * params.y_stride + n;
  y[at] = v.x;
  if (count > 1u) {
    y[at + 1u] = v.y;
  }
  if (count > 2u) {
    y[at + 2u] = v.z;
  }
  if (count > 3u) {
    y[at + 3u] = v.w;
  }
}
