// Products of staged matrices. Matrices are loaded from arrays of any numeric type, in whose elements offset and stride count.
//
// The kernel gives its shape (TOKENS, TM, TN, SG_N, SG_K, DEPTH), xs with the distance of its rows (LD); library files ws with the
// distance of its rows (LD_W) and of 16 columns (STEP_W) in elements (stage_*), Left, Right, Products and RESULTS (matrix_products).
const XS: u32 = max(TOKENS * LD, RESULTS);

// Adds the products of what is staged.
fn multiply(s: ptr<function, Products>, subgroup: u32) {
  let sg = subgroup % SUBGROUPS;
  let token0 = sg / SG_K / SG_N * (16u * TM);
  let row0 = sg / SG_K % SG_N * (16u * TN);
  let step0 = sg % SG_K * (DEPTH / 16u / SG_K);
  for (var step = 0u; step < DEPTH / 16u / SG_K; step++) {
    let k = (step0 + step) * 2u;
    let k_w = (step0 + step) * STEP_W;
    var b1: Right;
    var b2: Right;
    var b3: Right;
    let b0 = subgroupMatrixLoad<Right, col_major>(&ws, row0 * LD_W + k_w, LD_W);
    if (TN >= 2u) {
      b1 = subgroupMatrixLoad<Right, col_major>(&ws, (row0 + 16u) * LD_W + k_w, LD_W);
    }
    if (TN == 4u) {
      b2 = subgroupMatrixLoad<Right, col_major>(&ws, (row0 + 32u) * LD_W + k_w, LD_W);
      b3 = subgroupMatrixLoad<Right, col_major>(&ws, (row0 + 48u) * LD_W + k_w, LD_W);
    }
    let a0 = subgroupMatrixLoad<Left, row_major>(&xs, token0 * LD + k, LD);
    (*s).c00 = subgroupMatrixMultiplyAccumulate(a0, b0, (*s).c00);
    if (TN >= 2u) {
      (*s).c01 = subgroupMatrixMultiplyAccumulate(a0, b1, (*s).c01);
    }
    if (TN == 4u) {
      (*s).c02 = subgroupMatrixMultiplyAccumulate(a0, b2, (*s).c02);
      (*s).c03 = subgroupMatrixMultiplyAccumulate(a0, b3, (*s).c03);
    }
    if (TM >= 2u) {
      let a1 = subgroupMatrixLoad<Left, row_major>(&xs, (token0 + 16u) * LD + k, LD);
      (*s).c10 = subgroupMatrixMultiplyAccumulate(a1, b0, (*s).c10);
      if (TN >= 2u) {
        (*s).c11 = subgroupMatrixMultiplyAccumulate(a1, b1, (*s).c11);
      }
      if (TN == 4u) {
        (*s).c12 = subgroupMatrixMultiplyAccumulate(a1, b2, (*s).c12);
        (*s).c13 = subgroupMatrixMultiplyAccumulate(a1, b3, (*s).c13);
      }
    }
    if (TM >= 3u) {
      let a2 = subgroupMatrixLoad<Left, row_major>(&xs, (token0 + 32u) * LD + k, LD);
      (*s).c20 = subgroupMatrixMultiplyAccumulate(a2, b0, (*s).c20);
      if (TN >= 2u) {
        (*s).c21 = subgroupMatrixMultiplyAccumulate(a2, b1, (*s).c21);
      }
      if (TN == 4u) {
        (*s).c22 = subgroupMatrixMultiplyAccumulate(a2, b2, (*s).c22);
        (*s).c23 = subgroupMatrixMultiplyAccumulate(a2, b3, (*s).c23);
      }
    }
    if (TM == 4u) {
      let a3 = subgroupMatrixLoad<Left, row_major>(&xs, (token0 + 48u) * LD + k, LD);
      (*s).c30 = subgroupMatrixMultiplyAccumulate(a3, b0, (*s).c30);
      if (TN >= 2u) {
        (*s).c31 = subgroupMatrixMultiplyAccumulate(a3, b1, (*s).c31);
      }
      if (TN == 4u) {
        (*s).c32 = subgroupMatrixMultiplyAccumulate(a3, b2, (*s).c32);
        (*s).c33 = subgroupMatrixMultiplyAccumulate(a3, b3, (*s).c33);
      }
    }
  }
}
