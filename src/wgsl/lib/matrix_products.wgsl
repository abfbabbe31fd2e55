// Products of staged matrices, 16 x 16 x 16 of binary16 with f32 sums, and how they become results. Matrices are loaded from
// arrays of any numeric type, in whose elements offset and stride count. They are named one by one, because drivers keep
// arrays of them in slow memory.
//
// The kernel gives its shape (TM, TN, SG_M, SG_N, SG_K, DEPTH, SIZE), xs and ws with the distance of their rows (LD, LD_W) and
// of 16 columns of ws (STEP_W) in elements, and params; library files tile_item (rows_*), is_part (columns_*) and out4 (out_*).

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

// Products of a subgroup: TM along tokens, TN along rows of w.
struct Products {
  c00: Sums,
  c01: Sums,
  c02: Sums,
  c03: Sums,
  c10: Sums,
  c11: Sums,
  c12: Sums,
  c13: Sums,
  c20: Sums,
  c21: Sums,
  c22: Sums,
  c23: Sums,
  c30: Sums,
  c31: Sums,
  c32: Sums,
  c33: Sums,
}

const PAIR: u32 = min(TN, 2u);                         // products beside each other that are written at a time
const RESULT: u32 = 64u * PAIR;                        // blocks of four results of these
const XS: u32 = max(TOKENS * LD, RESULT * SUBGROUPS);  // xs holds results at the end

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

// Writes the results of a tile of tokens, of a workgroup's share of the rows and columns of w. All subgroups come here
// together. There is one place that writes, to which products come in turn: where there are several, compilers do not put its
// text there, but call it, and calls cost the products up to a fifth of their speed.
fn store(s: ptr<function, Products>, tile: u32, share: Share, subgroup: u32, li: u32) {
  let sg = subgroup % SUBGROUPS;
  for (var turn = 0u; turn < TM * TN / PAIR; turn++) {
    let i = turn / (TN / PAIR);  // which 16 of the subgroup's tokens
    let j = turn % (TN / PAIR);  // which 16 x PAIR of its rows of w
    switch (i * 2u + j) {
      case 0u: {
        put((*s).c00, (*s).c01, sg);
      }
      case 1u: {
        if (TN == 4u) {
          put((*s).c02, (*s).c03, sg);
        }
      }
      case 2u: {
        if (TM >= 2u) {
          put((*s).c10, (*s).c11, sg);
        }
      }
      case 3u: {
        if (TM >= 2u && TN == 4u) {
          put((*s).c12, (*s).c13, sg);
        }
      }
      case 4u: {
        if (TM >= 3u) {
          put((*s).c20, (*s).c21, sg);
        }
      }
      case 5u: {
        if (TM >= 3u && TN == 4u) {
          put((*s).c22, (*s).c23, sg);
        }
      }
      case 6u: {
        if (TM == 4u) {
          put((*s).c30, (*s).c31, sg);
        }
      }
      default: {
        if (TM == 4u && TN == 4u) {
          put((*s).c32, (*s).c33, sg);
        }
      }
    }
    workgroupBarrier();
    let token0 = sg / SG_K / SG_N * (16u * TM) + i * 16u;
    let row0 = sg / SG_K % SG_N * (16u * TN) + j * 32u;
    // Subgroups that shared the columns share the rows of the result too.
    for (var unit = li % SIZE + sg % SG_K * SIZE; unit < RESULT; unit += SIZE * SG_K) {
      let item = tile_item(tile, token0 + unit / (4u * PAIR));
      let n = share.first + row0 + unit % (4u * PAIR) * 4u;
      if (item.valid && n < params.row_count) {
        var v = vec4<f32>(0.0);
        for (var k = 0u; k < SG_K; k++) {
          v += bitcast<vec4<f32>>(xs[(sg / SG_K * SG_K + k) * RESULT + unit]);
        }
        if (!is_part(share, item.y_row, n, v)) {
          out4(item.y_row, params.row_begin + n, v, min(4u, params.row_count - n));
        }
      }
    }
    workgroupBarrier();
  }
}

// Leaves PAIR products that lie beside each other in xs.
fn put(c0: Sums, c1: Sums, sg: u32) {
  subgroupMatrixStore<row_major>(&xs, sg * RESULT, c0, 4u * PAIR);
  if (TN >= 2u) {
    subgroupMatrixStore<row_major>(&xs, sg * RESULT + 4u, c1, 4u * PAIR);
  }
}
