// Results are added to the residual stream: y[row, n .. n + count) += v. Written out, one element after the other: loops that
// index a vector, and loading all elements before any is stored, cost kernels that end with it up to a fifth of their speed.
fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  let at = row * params.y_stride + n;
  y[at] = y[at] + v.x;
  if (count > 1u) {
    y[at + 1u] = y[at + 1u] + v.y;
  }
  if (count > 2u) {
    y[at + 2u] = y[at + 2u] + v.z;
  }
  if (count > 3u) {
    y[at + 3u] = y[at + 3u] + v.w;
  }
}

// What is there before; to be asked for while the sums are still being made.
alias Kept = vec4<f32>;

fn out_kept(row: u32, n: u32, count: u32) -> Kept {
  let at = row * params.y_stride + n;
  var kept = vec4<f32>(y[at], 0.0, 0.0, 0.0);
  if (count > 1u) {
    kept.y = y[at + 1u];
  }
  if (count > 2u) {
    kept.z = y[at + 2u];
  }
  if (count > 3u) {
    kept.w = y[at + 3u];
  }
  return kept;
}

fn out4_kept(kept: Kept, row: u32, n: u32, v: vec4<f32>, count: u32) {
  let at = row * params.y_stride + n;
  y[at] = kept.x + v.x;
  if (count > 1u) {
    y[at + 1u] = kept.y + v.y;
  }
  if (count > 2u) {
    y[at + 2u] = kept.z + v.z;
  }
  if (count > 3u) {
    y[at + 3u] = kept.w + v.w;
  }
}
