// y[token, n] = out( sum_k x[token, k] * w[n, k] ) on matrix units: 16 x 16 x 16 products of binary16 with f32 sums.
//
// A workgroup of SG_M x SG_N subgroups computes a tile of TOKENS x ROWS. Columns are staged DEPTH at a time in workgroup
// memory as binary16; those of the next round or two are already on their way, in registers of their own, while the present
// ones are multiplied. Rounds are written out in pairs, because registers have no indices. Tiles of tokens follow each other
// fastest: those that read the same rows of w run at one time.
//
// Indices are written so that the compiler can see their bounds (`%`, loops that count by one): then it inserts no bounds
// checks, which would cost half of the speed.
//
// Library files give y (y_*), tile_item (rows_*), XS and multiply (multiply_*), store (matrix_products), what a workgroup does of the
// columns (columns_*), and how weights are fetched and staged: Weights, Rows, rows_of, fetch_w and stage_w (fetch_blocks with
// stage_blocks or stage_half, or stage_units).
//
// --- specialised ---
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8
const HALF: bool = false;   // whether a tile has 8 tokens, half of a matrix: where TM and SG_M are 1
const TM: u32 = 1u;         // products of a subgroup along tokens: 1 to 4
const TN: u32 = 1u;         // products of a subgroup along rows of w: 1, 2 or 4
const SG_M: u32 = 1u;       // subgroups along tokens
const SG_N: u32 = 4u;       // subgroups along rows of w
const SG_K: u32 = 1u;       // subgroups that share the staged columns
const DEPTH: u32 = 64u;     // columns staged at a time, a multiple of 32
const AHEAD: u32 = 2u;      // rounds on their way: 1 or 2
const SIZE: u32 = 32u;      // invocations of a subgroup

const BLOCKS: u32 = (K + 7u) / 8u;
const SUBGROUPS: u32 = SG_M * SG_N * SG_K;
const WG: u32 = SIZE * SUBGROUPS;
const TOKENS: u32 = select(16u * TM * SG_M, 8u, HALF);
const ROWS: u32 = 16u * TN * SG_N;
const STEPS: u32 = DEPTH / 8u;             // blocks of a staged row
const LD: u32 = STEPS + 1u;                // staged rows lie apart so that banks differ
const X_LOADS: u32 = TOKENS * STEPS / WG;
const WHOLE: bool = BLOCKS % STEPS == 0u;  // whether every staged column is one of w
// Whether tokens that a tile does not have are left out: large tiles, which mostly have all, are slower so.
const SPARSE: bool = TOKENS <= 16u;
const NONE: u32 = 0xffffffffu;

const_assert !HALF || (TM == 1u && SG_M == 1u);
const_assert WG % STEPS == 0u;
const_assert TOKENS * STEPS % WG == 0u;

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

var<workgroup> xs: array<vec4<u32>, XS>;

// Blocks of x that an invocation fetches for a round, and where they lie: NONE of a token that is left out. Nothing is fetched or
// staged in its place, and its results are written nowhere.
alias Tokens = array<vec4<u32>, X_LOADS>;
alias Places = array<u32, X_LOADS>;

@compute @workgroup_size(WG) @diagnostic(off, chromium.subgroup_matrix_uniformity) @diagnostic(off, subgroup_uniformity)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) li: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let tile = workgroup_id.x;
  let expert = tile_expert(tile);
  if (expert < params.expert_begin || expert - params.expert_begin >= params.expert_count) {
    return;
  }
  let share = share_of(workgroup_id.y);
  let first = share.first;

  var x_at: Places;
  for (var j = 0u; j < X_LOADS; j++) {
    let item = tile_item(tile, staged_row(li + j * WG));
    x_at[j] = select(NONE, item.x_row * (X_STRIDE / 8u) + li % STEPS, !SPARSE || item.valid);
  }
  var rows = rows_of((expert - params.expert_begin) * params.row_count, first, li);
  var x_even: Tokens;
  var x_odd: Tokens;
  var w_even: Weights;
  var w_odd: Weights;
  fetch_x(&x_even, &x_at, share.begin);
  fetch_w(&w_even, &rows, li, share.begin);
  if (AHEAD == 2u) {
    fetch_x(&x_odd, &x_at, share.begin + STEPS);
    fetch_w(&w_odd, &rows, li, share.begin + STEPS);
  }

  var sums: Products;
  for (var block = share.begin; block < share.end; block += 2u * STEPS) {
    stage_x(&x_even, &x_at, li, block);
    stage_w(&w_even, li, block);
    workgroupBarrier();
    if (block + AHEAD * STEPS < share.end) {
      fetch_x(&x_even, &x_at, block + AHEAD * STEPS);
      fetch_w(&w_even, &rows, li, block + AHEAD * STEPS);
    }
    multiply(&sums, subgroup);
    workgroupBarrier();
    if (block + STEPS < share.end) {
      if (AHEAD == 2u) {
        stage_x(&x_odd, &x_at, li, block + STEPS);
        stage_w(&w_odd, li, block + STEPS);
      } else {
        stage_x(&x_even, &x_at, li, block + STEPS);
        stage_w(&w_even, li, block + STEPS);
      }
      workgroupBarrier();
      if (block + (1u + AHEAD) * STEPS < share.end) {
        if (AHEAD == 2u) {
          fetch_x(&x_odd, &x_at, block + 3u * STEPS);
          fetch_w(&w_odd, &rows, li, block + 3u * STEPS);
        } else {
          fetch_x(&x_even, &x_at, block + 2u * STEPS);
          fetch_w(&w_even, &rows, li, block + 2u * STEPS);
        }
      }
      multiply(&sums, subgroup);
      workgroupBarrier();
    }
  }
  store(&sums, tile, share, subgroup, li);
}

// Which row of a tile block i of those that are staged belongs to; its columns are i % STEPS. Eight neighbours store their blocks
// at a time. Where these are four of two rows each, the rows lie four apart, so that they are in other banks.
fn staged_row(i: u32) -> u32 {
  if (STEPS == 4u) {
    return i / 32u * 8u + i / 8u % 4u + i / 4u % 2u * 4u;
  }
  return i / STEPS;
}

fn fetch_x(v: ptr<function, Tokens>, at: ptr<function, Places>, block: u32) {
  for (var j = 0u; j < X_LOADS; j++) {
    if (!SPARSE || (*at)[j] != NONE) {
      (*v)[j] = x[(*at)[j] + block];
    }
  }
}

// Beyond the last column are other rows, or nothing at all. Zeros take their place here and not when they are fetched, which
// would wait for them.
fn stage_x(v: ptr<function, Tokens>, at: ptr<function, Places>, invocation: u32, block: u32) {
  let li = invocation % WG;
  let present = WHOLE || block + li % STEPS < BLOCKS;
  for (var j = 0u; j < X_LOADS; j++) {
    if (!SPARSE || (*at)[j] != NONE) {
      xs[staged_row(li + j * WG) * LD + li % STEPS] = select(vec4<u32>(0u), (*v)[j], present);
    }
  }
}
