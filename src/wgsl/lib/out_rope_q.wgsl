// Results are query heads: rotated (turn_pairs), and stored in the order that attention reads. Four rows are always
// whole pairs of one head, or its padding, whose zero weights give the zeros that are stored there.

// The turns of the pairs; to be asked for while the sums are still being made.
alias Kept = vec4<f32>;

fn out_kept(row: u32, n: u32, count: u32) -> Kept {
  return turns_of(row, n % D8);
}

fn out4_kept(kept: Kept, row: u32, n: u32, v: vec4<f32>, count: u32) {
  let r = n % D8;
  let at = row * params.y_stride + n - r;
  if (r >= D) {
    for (var i = 0u; i < 4u; i++) {
      y[at + r + i] = v[i];
    }
    return;
  }
  let turned = turn_pairs(kept, v);
  y[at + r / 2u] = turned.x;
  y[at + r / 2u + 1u] = turned.y;
  y[at + r / 2u + D / 2u] = turned.z;
  y[at + r / 2u + D / 2u + 1u] = turned.w;
}

fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  out4_kept(out_kept(row, n, count), row, n, v, count);
}
