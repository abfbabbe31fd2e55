// Products of staged matrices, of tiles of 8 tokens: half a matrix of x, right behind which weights are staged, so that the other
// half is loaded from these. Its products are anything, and are dropped. What it does not take of memory leaves room for more workgroups.
//
// The kernel gives its shape (TOKENS, ROWS, SG_N, SG_K, DEPTH), xs with the distance of its rows (LD); library files Left, Right,
// Products and RESULTS (matrix_products).
const W0: u32 = TOKENS * LD;  // where weights begin
const XS: u32 = max(W0 + ROWS * LD, RESULTS);

const_assert TN == 1u && ROWS >= 16u - TOKENS;

// Adds the products of what is staged.
fn multiply(s: ptr<function, Products>, subgroup: u32) {
  let sg = subgroup % SUBGROUPS;
  let row0 = sg / SG_K % SG_N * 16u;
  let step0 = sg % SG_K * (DEPTH / 16u / SG_K);
  for (var step = 0u; step < DEPTH / 16u / SG_K; step++) {
    let k = (step0 + step) * 2u;
    let b0 = subgroupMatrixLoad<Right, col_major>(&xs, W0 + row0 * LD + k, LD);
    let a0 = subgroupMatrixLoad<Left, row_major>(&xs, k, LD);
    (*s).c00 = subgroupMatrixMultiplyAccumulate(a0, b0, (*s).c00);
  }
}
