// Results are query heads: rotated (turn_pairs), and stored in the order that attention reads. Four rows are always
// whole pairs of one head, or its padding, whose zero weights give the zeros that are stored there.
fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  let r = n % D8;
  let at = row * params.y_stride + n - r;
  if (r >= D) {
    for (var i = 0u; i < 4u; i++) {
      y[at + r + i] = v[i];
    }
    return;
  }
  let turned = turn_pairs(turns_of(row, r), v);
  y[at + r / 2u] = turned.x;
  y[at + r / 2u + 1u] = turned.y;
  y[at + r / 2u + D / 2u] = turned.z;
  y[at + r / 2u + D / 2u + 1u] = turned.w;
}
