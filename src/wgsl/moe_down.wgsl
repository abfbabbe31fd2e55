// Down projections of a mixture of experts for few tokens, all in one: the shared expert's, those of the experts that
// the token chose, weighted, and the addition to the residual stream.
//   y[token, n] += share_w[n] . share_x[token] + sum over choices of weight * (w[expert, n] . x[token, choice])
//
// A workgroup owns ROWS rows n of one token, so that choosing experts is paid once for all of them. Those of all tokens with the
// same rows follow each other, so that weights that several tokens need are read from memory once. Its invocations share
// the columns of the shared expert and of every choice, as if they were one long row; then teams sum over their lanes,
// and the workgroup over its teams. The order of additions depends on widths and the team alone. Where experts lie in
// more buffers than a call binds, each call adds what its own hold.
//
// Library files give: the team and entry point, add_item (down_*), load_rows8 (buffers_*) or load_quad (quads), weights
// (weight_*), prepare_levels (levels_*), load_x8 (x_blocks) or load_slots (unit_slots), route_token (route_token, score_*),
// out_kept and out4_kept (out_add).
//
// --- specialised ---
const WG: u32 = 64u;        // invocations of a workgroup
const ROWS: u32 = 8u;       // rows n of a workgroup: 8, or 16 of compressed weights
const ROUNDED: bool = false;  // whether x has 16 bits where it becomes integers, not 23
const K: u32 = 64u;         // columns of w (moe_intermediate_size), whose rows are padded to BLOCKS * 8
const SHARE_K: u32 = 64u;   // columns of share_w (share_expert_dim), padded alike; 0 = there is no shared expert
const SHARE_IN_X: bool = false;  // share_x is x too, where a row for the shared expert follows those of a token's choices

const BLOCKS: u32 = (K + 7u) / 8u;
const SHARE_BLOCKS: u32 = (SHARE_K + 7u) / 8u;
const X_STRIDE: u32 = select(BLOCKS, max(BLOCKS, SHARE_BLOCKS), SHARE_IN_X) * 8u;
const SHARE_STRIDE: u32 = select(SHARE_BLOCKS * 8u, X_STRIDE, SHARE_IN_X);
const X_EACH: u32 = TOP_K + select(0u, 1u, SHARE_IN_X);  // rows of x of a token
const SUMS: u32 = ROWS / 4u;

struct Params {
  expert_begin: u32,  // experts in the bound buffers of w
  expert_count: u32,
  row_begin: u32,     // rows n of each expert in the bound buffers
  row_count: u32,
  y_stride: u32,
  with_share: u32,    // whether this call adds the shared expert's part
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;        // [tokens * X_EACH, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;        // [tokens, y_stride]
@group(0) @binding(4) var<storage, read> share_w: array<vec4<u32>>;  // [all rows n, SHARE_BLOCKS * 8], in w's format, or w
@group(0) @binding(6) var<storage, read> share_x: array<vec4<f32>>;  // [tokens, SHARE_STRIDE], or x

// Sums of fours of rows: the first two, and two more where there are sixteen rows.
struct Sums {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
}

// Sums of every team, which has at least 4 invocations.
var<workgroup> partial: array<vec4<f32>, SUMS * (WG / 4u)>;

fn run(workgroup_id: vec3<u32>, local_index: u32, team: Team, teams: u32) {
  let token = workgroup_id.x;
  let first = workgroup_id.y * ROWS;
  // What the results are added to is asked for first.
  let n = first + local_index * 4u;
  let makes = local_index < SUMS && n < params.row_count;
  var kept: Kept;
  if (makes) {
    kept = out_kept(token, params.row_begin + n, min(4u, params.row_count - n));
  }
  prepare_levels();
  route_token(token, true);
  var experts = workgroupUniformLoad(&routed_experts);
  var any = params.with_share != 0u;
  for (var i = 0u; i < TOP_K; i++) {
    any = any || held(experts[i]);
  }
  if (!any) {
    return;
  }
  var sums: Sums;
  for (var item = local_index; item < ITEMS; item += WG) {
    add_item(token, item, first, &sums);
  }
  team_put(0u, sums.a, local_index);
  team_put(1u, sums.b, local_index);
  if (SUMS == 4u) {
    team_put(2u, sums.c, local_index);
    team_put(3u, sums.d, local_index);
  }
  team_sync();
  for (var i = team_first(team.lane); i < SUMS; i += TEAM_STEP) {
    partial[team.index * SUMS + i] = team_sum(i, local_index);
  }
  workgroupBarrier();
  if (makes) {
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < teams; i++) {
      total += partial[i * SUMS + local_index];
    }
    out4_kept(kept, token, params.row_begin + n, total, min(4u, params.row_count - n));
  }
}

// Whether a bound buffer holds an expert.
fn held(expert: u32) -> bool {
  return expert >= params.expert_begin && expert - params.expert_begin < params.expert_count;
}

// Row of share_x.
fn share_row(token: u32) -> u32 {
  return select(token, token * X_EACH + TOP_K, SHARE_IN_X);
}

// The first row of an expert within its buffer.
fn row_of(expert: u32) -> u32 {
  return expert_in_buffer(expert - params.expert_begin) * params.row_count;
}

// Four rows n from `first` on, counted from the first of the bound ones; beyond the last, that again.
fn four_from(first: u32) -> vec4<u32> {
  return min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.row_count - 1u));
}
