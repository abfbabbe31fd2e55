// Queries of mfa_prefill as matrices in registers, and their products with keys. The kernel gives the staging area kv with rows of
// LD blocks of eight elements, scores s with rows of LD_S blocks of four, and how many times 16 rows (TALL: 1 or 2) and columns
// (DEPTH: 4, 8 or 16) a subgroup has. Matrices are named one by one, because drivers keep arrays of them in slow memory.
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

// 16 rows of queries, and the next 16 where there are so many (TALL), by 16 columns.
struct Queries {
  a0: Left,
  a1: Left,
  a2: Left,
  a3: Left,
  a4: Left,
  a5: Left,
  a6: Left,
  a7: Left,
  a8: Left,
  a9: Left,
  a10: Left,
  a11: Left,
  a12: Left,
  a13: Left,
  a14: Left,
  a15: Left,
  b0: Left,
  b1: Left,
  b2: Left,
  b3: Left,
  b4: Left,
  b5: Left,
  b6: Left,
  b7: Left,
}

// Loads those of a quarter of the rows, of which 32 are staged.
fn load_queries(q: ptr<function, Queries>, quarter: u32) {
  let offset = quarter * TALL % 2u * 16u;
  (*q).a0 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 0u, LD);
  (*q).a1 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 2u, LD);
  (*q).a2 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 4u, LD);
  (*q).a3 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 6u, LD);
  if (DEPTH > 4u) {
    (*q).a4 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 8u, LD);
    (*q).a5 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 10u, LD);
    (*q).a6 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 12u, LD);
    (*q).a7 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 14u, LD);
  }
  if (DEPTH > 8u) {
    (*q).a8 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 16u, LD);
    (*q).a9 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 18u, LD);
    (*q).a10 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 20u, LD);
    (*q).a11 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 22u, LD);
    (*q).a12 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 24u, LD);
    (*q).a13 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 26u, LD);
    (*q).a14 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 28u, LD);
    (*q).a15 = subgroupMatrixLoad<Left, row_major>(&kv, offset * LD + 30u, LD);
  }
  if (TALL == 2u) {
    (*q).b0 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 0u, LD);
    (*q).b1 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 2u, LD);
    (*q).b2 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 4u, LD);
    (*q).b3 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 6u, LD);
    if (DEPTH > 4u) {
      (*q).b4 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 8u, LD);
      (*q).b5 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 10u, LD);
      (*q).b6 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 12u, LD);
      (*q).b7 = subgroupMatrixLoad<Left, row_major>(&kv, 16u * LD + 14u, LD);
    }
  }
}

struct Scores {
  low: Sums,
  high: Sums,
}

// Puts down the scores of a quarter of the rows with 16 of the keys that are staged: the first or (`side`) the last.
fn put_scores(q: ptr<function, Queries>, quarter: u32, side: u32) {
  // `%` lets the compiler see their bounds, and leave checks out: see matmul_matrix.wgsl.
  let first = quarter % 4u * TALL * 16u;
  let key = side % 2u * 16u;
  // Written out: a declaration alone does not clear them in every round.
  var sums = Scores(Sums(), Sums());
  let k0 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 0u, LD);
  sums.low = subgroupMatrixMultiplyAccumulate((*q).a0, k0, sums.low);
  if (TALL == 2u) {
    sums.high = subgroupMatrixMultiplyAccumulate((*q).b0, k0, sums.high);
  }
  let k1 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 2u, LD);
  sums.low = subgroupMatrixMultiplyAccumulate((*q).a1, k1, sums.low);
  if (TALL == 2u) {
    sums.high = subgroupMatrixMultiplyAccumulate((*q).b1, k1, sums.high);
  }
  let k2 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 4u, LD);
  sums.low = subgroupMatrixMultiplyAccumulate((*q).a2, k2, sums.low);
  if (TALL == 2u) {
    sums.high = subgroupMatrixMultiplyAccumulate((*q).b2, k2, sums.high);
  }
  let k3 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 6u, LD);
  sums.low = subgroupMatrixMultiplyAccumulate((*q).a3, k3, sums.low);
  if (TALL == 2u) {
    sums.high = subgroupMatrixMultiplyAccumulate((*q).b3, k3, sums.high);
  }
  if (DEPTH > 4u) {
    let k4 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 8u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a4, k4, sums.low);
    if (TALL == 2u) {
      sums.high = subgroupMatrixMultiplyAccumulate((*q).b4, k4, sums.high);
    }
    let k5 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 10u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a5, k5, sums.low);
    if (TALL == 2u) {
      sums.high = subgroupMatrixMultiplyAccumulate((*q).b5, k5, sums.high);
    }
    let k6 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 12u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a6, k6, sums.low);
    if (TALL == 2u) {
      sums.high = subgroupMatrixMultiplyAccumulate((*q).b6, k6, sums.high);
    }
    let k7 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 14u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a7, k7, sums.low);
    if (TALL == 2u) {
      sums.high = subgroupMatrixMultiplyAccumulate((*q).b7, k7, sums.high);
    }
  }
  if (DEPTH > 8u) {
    let k8 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 16u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a8, k8, sums.low);
    let k9 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 18u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a9, k9, sums.low);
    let k10 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 20u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a10, k10, sums.low);
    let k11 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 22u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a11, k11, sums.low);
    let k12 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 24u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a12, k12, sums.low);
    let k13 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 26u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a13, k13, sums.low);
    let k14 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 28u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a14, k14, sums.low);
    let k15 = subgroupMatrixLoad<Right, col_major>(&kv, key * LD + 30u, LD);
    sums.low = subgroupMatrixMultiplyAccumulate((*q).a15, k15, sums.low);
  }
  subgroupMatrixStore<row_major>(&s, first * LD_S + key / 4u, sums.low, LD_S);
  if (TALL == 2u) {
    subgroupMatrixStore<row_major>(&s, (first + 16u) * LD_S + key / 4u, sums.high, LD_S);
  }
}
