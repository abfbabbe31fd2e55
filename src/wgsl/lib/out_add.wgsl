// Results are added to the residual stream: y[row, n .. n + count) += v.

// What is there before; to be asked for while the sums are still being made.
alias Kept = vec4<f32>;

fn out_kept(row: u32, n: u32, count: u32) -> Kept {
  let at = row * params.y_stride + n;
  var kept = vec4<f32>(0.0);
  for (var i = 0u; i < count; i++) {
    kept[i] = y[at + i];
  }
  return kept;
}

fn out4_kept(kept: Kept, row: u32, n: u32, v: vec4<f32>, count: u32) {
  let at = row * params.y_stride + n;
  for (var i = 0u; i < count; i++) {
    y[at + i] = kept[i] + v[i];
  }
}

fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  out4_kept(out_kept(row, n, count), row, n, v, count);
}
