// Matrices, 16 x 16 of binary16, products of these with f32 sums, and how they become results. Matrices are named one by one,
// because drivers keep arrays of them in slow memory.
//
// The kernel gives its shape (HALF, TM, TN, SG_M, SG_N, SG_K, SIZE), xs and params; library files tile_item (rows_*), is_part
// (columns_*) and out4 (out_*).

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
const RESULTS: u32 = RESULT * SUBGROUPS;                // that xs holds at the end

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
      if ((!HALF || unit / (4u * PAIR) < TOKENS) && item.valid && n < params.row_count) {
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
