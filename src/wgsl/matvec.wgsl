// y[token, n] = out( sum_k norm(x)[token, k] * w[n, k] ) for few tokens: bound by reading w.
//
// A team (subgroup or 32 invocations) owns 4 rows of w and a tile of TOKENS rows of x. Its lanes walk the columns in
// blocks of 8 (one 128-bit load of 16-bit weights), so each weight is read once for the whole tile; then the team sums.
// The order of additions depends on K and the team alone, not on the number of tokens.
//
// Library files give: the team and entry point, load_weight8 (weight_*), load_x8 (x_blocks), norm_x (norm_*),
// tile_item (rows_*), out4 (out_*).
//
// --- specialised ---
const WG: u32 = 64u;        // invocations of a workgroup
const TOKENS: u32 = 1u;     // rows of x in a tile
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8

const BLOCKS: u32 = (K + 7u) / 8u;
const SQUARES: u32 = (TOKENS + 3u) / 4u;  // sums of squares, four tokens to a vec4
const SUMS: u32 = TOKENS + SQUARES;

struct Params {
  tokens: u32,        // result rows (dense)
  expert_begin: u32,  // experts in this shard of w
  expert_count: u32,
  row_begin: u32,     // rows n of each expert in this shard of w
  row_count: u32,
  y_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;       // [x rows, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [tokens, y_stride]

fn run(workgroup_id: vec3<u32>, local_index: u32, team: Team, teams: u32) {
  let tile = workgroup_id.y;
  let expert = tile_expert(tile);
  if (expert < params.expert_begin || expert - params.expert_begin >= params.expert_count) {
    return;
  }
  let first = (workgroup_id.x * teams + team.index) * 4u;
  let base = (expert - params.expert_begin) * params.row_count;
  let last = params.row_count - 1u;
  let r0 = base + min(first, last);
  let r1 = base + min(first + 1u, last);
  let r2 = base + min(first + 2u, last);
  let r3 = base + min(first + 3u, last);

  var x_rows: array<u32, TOKENS>;
  var sums: array<vec4<f32>, TOKENS>;
  var squares: array<vec4<f32>, SQUARES>;
  for (var t = 0u; t < TOKENS; t++) {
    x_rows[t] = tile_item(tile, t).x_row;
  }
  for (var block = team.lane; block < BLOCKS; block += team.size) {
    let w0 = load_weight8(r0, block);
    let w1 = load_weight8(r1, block);
    let w2 = load_weight8(r2, block);
    let w3 = load_weight8(r3, block);
    for (var t = 0u; t < TOKENS; t++) {
      let raw = load_x8(x_rows[t], block);
      let xb = norm_x(raw, block);
      sums[t] += vec4<f32>(dot8(w0, xb), dot8(w1, xb), dot8(w2, xb), dot8(w3, xb));
      if (NORMED) {
        squares[t / 4u][t % 4u] += dot8(raw, raw);
      }
    }
  }
  for (var t = 0u; t < TOKENS; t++) {
    team_put(t, sums[t], local_index);
  }
  if (NORMED) {
    for (var i = 0u; i < SQUARES; i++) {
      team_put(TOKENS + i, squares[i], local_index);
    }
  }
  team_sync();
  if (first >= params.row_count) {
    return;
  }
  for (var t = team_first(team.lane); t < TOKENS; t += TEAM_STEP) {
    let item = tile_item(tile, t);
    if (item.valid) {
      var sum = team_sum(t, local_index);
      if (NORMED) {
        sum *= norm_scale(team_sum(TOKENS + t / 4u, local_index)[t % 4u]);
      }
      out4(item.y_row, params.row_begin + first, sum, min(4u, params.row_count - first));
    }
  }
}
