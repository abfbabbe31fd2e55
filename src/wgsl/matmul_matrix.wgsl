// y[token, n] = out( sum_k x[token, k] * w[n, k] ) on matrix units: 16 x 16 x 16 products of binary16 with f32 sums.
//
// A workgroup of SG_M x SG_N subgroups computes a tile of TOKENS x ROWS. Columns are staged DEPTH at a time in workgroup
// memory as binary16; the next ones are already on their way while the present ones are multiplied. A subgroup holds up
// to 4 x 2 products (TM x TN), named one by one, because drivers keep arrays of matrices in slow memory. Indices are
// written so that the compiler can see their bounds (`%`, loops that count by one, no helper functions): then it inserts
// no bounds checks, which would cost half of the speed.
//
// Library files give decode8 and w (weight_*, 16 bits a weight), tile_item (rows_*) and store (matrix_store).
//
// --- specialised ---
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8
const TM: u32 = 1u;         // products of a subgroup along tokens: 1, 2 or 4
const TN: u32 = 1u;         // products of a subgroup along rows of w: 1 or 2
const SG_M: u32 = 1u;       // subgroups along tokens
const SG_N: u32 = 4u;       // subgroups along rows of w
const SG_K: u32 = 1u;       // subgroups that share the staged columns; above 1 only for single products
const DEPTH: u32 = 64u;     // columns staged at a time, a multiple of 16
const SIZE: u32 = 32u;      // invocations of a subgroup

const BLOCKS: u32 = (K + 7u) / 8u;
const WG: u32 = SIZE * SG_M * SG_N * SG_K;
const SG_TOKENS: u32 = 16u * TM;
const SG_ROWS: u32 = 16u * TN;
const TOKENS: u32 = SG_TOKENS * SG_M;
const ROWS: u32 = SG_ROWS * SG_N;
const LD: u32 = DEPTH + 8u;              // staged rows lie apart so that banks differ
const STEPS: u32 = DEPTH / 8u;           // blocks of a staged row
const X_LOADS: u32 = TOKENS * STEPS / WG;
const W_LOADS: u32 = ROWS * STEPS / WG;

const_assert TOKENS * STEPS % WG == 0u;
const_assert ROWS * STEPS % WG == 0u;
const_assert TM == 1u || TN == 2u;
const_assert SG_K == 1u || TM * TN == 1u;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

struct Params {
  tokens: u32,        // result rows (dense)
  expert_begin: u32,  // experts in this shard of w
  expert_count: u32,
  row_begin: u32,     // rows n of each expert in this shard of w
  row_count: u32,
  y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;       // [x rows, X_STRIDE] of f16
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [tokens, y_stride]

var<workgroup> xs: array<f16, TOKENS * LD>;
var<workgroup> ws: array<f16, ROWS * LD>;
var<workgroup> results: array<f32, 256u * SG_M * SG_N * SG_K>;  // one product of each subgroup

@compute @workgroup_size(WG) @diagnostic(off, chromium.subgroup_matrix_uniformity) @diagnostic(off, subgroup_uniformity)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) li: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let tile = workgroup_id.y;
  let expert = tile_expert(tile);
  if (expert < params.expert_begin || expert - params.expert_begin >= params.expert_count) {
    return;
  }
  let first = workgroup_id.x * ROWS;
  let base = (expert - params.expert_begin) * params.row_count;
  let sg = subgroup % (SG_M * SG_N * SG_K);
  let token0 = sg / SG_K / SG_N * SG_TOKENS;
  let row0 = sg / SG_K % SG_N * SG_ROWS;
  let step0 = sg % SG_K * (DEPTH / 16u / SG_K);

  // Where this invocation's loads start, in blocks.
  var x_at: array<u32, X_LOADS>;
  var w_at: array<u32, W_LOADS>;
  var x_next: array<vec4<u32>, X_LOADS>;
  var w_next: array<vec4<u32>, W_LOADS>;
  for (var j = 0u; j < X_LOADS; j++) {
    x_at[j] = tile_item(tile, (li + j * WG) / STEPS).x_row * (X_STRIDE / 8u) + li % STEPS;
  }
  for (var j = 0u; j < W_LOADS; j++) {
    w_at[j] = (base + min(first + (li + j * WG) / STEPS, params.row_count - 1u)) * BLOCKS + li % STEPS;
  }
  for (var j = 0u; j < X_LOADS; j++) {
    x_next[j] = select(vec4<u32>(0u), x[x_at[j]], li % STEPS < BLOCKS);
  }
  for (var j = 0u; j < W_LOADS; j++) {
    w_next[j] = select(vec4<u32>(0u), w[w_at[j]], li % STEPS < BLOCKS);
  }

  var c00: Sums;
  var c01: Sums;
  var c10: Sums;
  var c11: Sums;
  var c20: Sums;
  var c21: Sums;
  var c30: Sums;
  var c31: Sums;

  for (var block = 0u; block < BLOCKS; block += STEPS) {
    for (var j = 0u; j < X_LOADS; j++) {
      let at = (li + j * WG) / STEPS * LD + (li + j * WG) % STEPS * 8u;
      let v = x_next[j];
      let a = bitcast<vec2<f16>>(v.x);
      let b = bitcast<vec2<f16>>(v.y);
      let c = bitcast<vec2<f16>>(v.z);
      let d = bitcast<vec2<f16>>(v.w);
      xs[at] = a.x;
      xs[at + 1u] = a.y;
      xs[at + 2u] = b.x;
      xs[at + 3u] = b.y;
      xs[at + 4u] = c.x;
      xs[at + 5u] = c.y;
      xs[at + 6u] = d.x;
      xs[at + 7u] = d.y;
    }
    for (var j = 0u; j < W_LOADS; j++) {
      let at = (li + j * WG) / STEPS * LD + (li + j * WG) % STEPS * 8u;
      let v = decode8(w_next[j], w_next[j]);
      ws[at] = f16(v.lo.x);
      ws[at + 1u] = f16(v.lo.y);
      ws[at + 2u] = f16(v.lo.z);
      ws[at + 3u] = f16(v.lo.w);
      ws[at + 4u] = f16(v.hi.x);
      ws[at + 5u] = f16(v.hi.y);
      ws[at + 6u] = f16(v.hi.z);
      ws[at + 7u] = f16(v.hi.w);
    }
    workgroupBarrier();

    let ahead = block + STEPS;
    if (ahead < BLOCKS) {
      let whole = ahead + STEPS <= BLOCKS;
      for (var j = 0u; j < X_LOADS; j++) {
        x_next[j] = x[x_at[j] + ahead];
      }
      for (var j = 0u; j < W_LOADS; j++) {
        w_next[j] = w[w_at[j] + ahead];
      }
      if (!whole && ahead + li % STEPS >= BLOCKS) {
        // Beyond the last column: other rows, or nothing at all.
        for (var j = 0u; j < X_LOADS; j++) {
          x_next[j] = vec4<u32>(0u);
        }
        for (var j = 0u; j < W_LOADS; j++) {
          w_next[j] = vec4<u32>(0u);
        }
      }
    }

    for (var step = 0u; step < DEPTH / 16u / SG_K; step++) {
      let k = (step0 + step) * 16u;
      let a0 = subgroupMatrixLoad<Left, row_major>(&xs, token0 * LD + k, LD);
      let b0 = subgroupMatrixLoad<Right, col_major>(&ws, row0 * LD + k, LD);
      c00 = subgroupMatrixMultiplyAccumulate(a0, b0, c00);
      if (TN == 2u) {
        let b1 = subgroupMatrixLoad<Right, col_major>(&ws, (row0 + 16u) * LD + k, LD);
        c01 = subgroupMatrixMultiplyAccumulate(a0, b1, c01);
        if (TM >= 2u) {
          let a1 = subgroupMatrixLoad<Left, row_major>(&xs, (token0 + 16u) * LD + k, LD);
          c10 = subgroupMatrixMultiplyAccumulate(a1, b0, c10);
          c11 = subgroupMatrixMultiplyAccumulate(a1, b1, c11);
        }
        if (TM == 4u) {
          let a2 = subgroupMatrixLoad<Left, row_major>(&xs, (token0 + 32u) * LD + k, LD);
          let a3 = subgroupMatrixLoad<Left, row_major>(&xs, (token0 + 48u) * LD + k, LD);
          c20 = subgroupMatrixMultiplyAccumulate(a2, b0, c20);
          c21 = subgroupMatrixMultiplyAccumulate(a2, b1, c21);
          c30 = subgroupMatrixMultiplyAccumulate(a3, b0, c30);
          c31 = subgroupMatrixMultiplyAccumulate(a3, b1, c31);
        }
      }
    }
    workgroupBarrier();
  }

  let lane = li % SIZE;
  subgroupMatrixStore<row_major>(&results, sg * 256u, c00, 16u);
  store(tile, first, token0, row0, sg, lane);
  if (TN == 2u) {
    subgroupMatrixStore<row_major>(&results, sg * 256u, c01, 16u);
    store(tile, first, token0, row0 + 16u, sg, lane);
    if (TM >= 2u) {
      subgroupMatrixStore<row_major>(&results, sg * 256u, c10, 16u);
      store(tile, first, token0 + 16u, row0, sg, lane);
      subgroupMatrixStore<row_major>(&results, sg * 256u, c11, 16u);
      store(tile, first, token0 + 16u, row0 + 16u, sg, lane);
    }
    if (TM == 4u) {
      subgroupMatrixStore<row_major>(&results, sg * 256u, c20, 16u);
      store(tile, first, token0 + 32u, row0, sg, lane);
      subgroupMatrixStore<row_major>(&results, sg * 256u, c21, 16u);
      store(tile, first, token0 + 32u, row0 + 16u, sg, lane);
      subgroupMatrixStore<row_major>(&results, sg * 256u, c30, 16u);
      store(tile, first, token0 + 48u, row0, sg, lane);
      subgroupMatrixStore<row_major>(&results, sg * 256u, c31, 16u);
      store(tile, first, token0 + 48u, row0 + 16u, sg, lane);
    }
  }
}
