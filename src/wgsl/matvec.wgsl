// y[token, n] = out( sum_k norm(x)[token, k] * w[n, k] ) for few tokens: bound by reading w.
//
// A workgroup owns GROUPS groups of four rows of w and a tile of TOKENS rows of x. Its teams (subgroups or 32 invocations)
// are spread over the groups; those of one group share its columns, so that small matrices too keep the whole GPU busy.
// Lanes walk the columns in blocks of 8 (one 128-bit load of 16-bit weights) or, of compressed weights, in units of 32, so
// each weight is read once for the whole tile; then teams sum over their lanes, and the workgroup over its teams.
// Tiles are the first axis of the grid, where workgroups that follow each other may share rows of w, or else the last.
// The order of additions depends on the weights, the tile size and the team alone, not on the number of tokens.
//
// Library files give: the team and entry point, walk (walk_*), load_rows8 (buffers_*) or load_unit (weight_*), load_x8
// (x_blocks), norm_x (norm_*), tile_expert and tile_item (rows_*), tile_rows (rows_routed, rows_even), out_kept and out4_kept
// (out_add, keep_none), out4 (out_*).
//
// --- specialised ---
const WG: u32 = 64u;        // invocations of a workgroup
const TOKENS: u32 = 1u;     // rows of x in a tile
const GROUPS: u32 = 2u;     // groups of rows, a power of two
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8

const ROWS: u32 = 4u;                     // of a group
const BLOCKS: u32 = (K + 7u) / 8u;
const SQUARES: u32 = (TOKENS + 3u) / 4u;  // sums of squares, four tokens to a vec4
const SUMS: u32 = TOKENS + SQUARES;

const_assert TOKENS * GROUPS <= WG;       // an invocation makes four results at most

struct Params {
  tokens: u32,        // result rows (dense)
  expert_begin: u32,  // experts in the bound buffers of w
  expert_count: u32,
  row_begin: u32,     // rows n of each expert in the bound buffers
  row_count: u32,
  y_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;       // [x rows, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [tokens, y_stride]

// Sums of every team, or of every group where one team has several. Subgroups have at least 4 invocations.
var<workgroup> partial: array<vec4<f32>, SUMS * max(WG / 4u, GROUPS)>;  // [part, GROUPS, SUMS]

fn run(workgroup_id: vec3<u32>, local_index: u32, team: Team, teams: u32) {
  let tile = workgroup_id.x + workgroup_id.z;
  let expert = tile_expert(tile);
  if (expert < params.expert_begin || expert - params.expert_begin >= params.expert_count) {
    return;
  }
  let row_count = tile_rows(expert);
  let first = workgroup_id.y * ROWS * GROUPS;
  if (UNEVEN && first >= row_count) {
    return;
  }
  let buffer = buffer_of(expert - params.expert_begin);
  let base = expert_in_buffer(expert - params.expert_begin) * params.row_count;
  let last = row_count - 1u;
  let abreast = min(teams, GROUPS);      // groups that are worked on at a time
  let parts = max(teams / GROUPS, 1u);   // teams that share the columns of a group
  let part = team.index / abreast;

  var x_rows: array<u32, TOKENS>;
  for (var t = 0u; t < TOKENS; t++) {
    x_rows[t] = tile_item(tile, t).x_row;
  }
  // What the result of this invocation needs of memory is asked for first.
  let n = first + local_index % GROUPS * ROWS;
  let own_token = local_index / GROUPS;
  var makes = own_token < TOKENS && n < row_count;
  var y_row = 0u;
  var kept: Kept;
  if (makes) {
    let item = tile_item(tile, own_token);
    makes = item.valid;
    y_row = item.y_row;
    kept = out_kept(y_row, params.row_begin + n, min(ROWS, row_count - n));
  }
  for (var round = 0u; round < GROUPS / abreast; round++) {
    let group = round * abreast + team.index % abreast;
    var rows: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
      rows[r] = base + min(first + group * ROWS + r, last);
    }
    // Explicit, because a variable of a loop without a value may keep that of the round before.
    var sums = array<vec4<f32>, TOKENS * ROWS>();
    var squares = array<vec4<f32>, SQUARES>();
    walk(buffer, &rows, &x_rows, part * team.size + team.lane, team.size * parts, &sums, &squares);
    for (var t = 0u; t < TOKENS; t++) {
      var sum = vec4<f32>(0.0);
      for (var r = 0u; r < ROWS; r++) {
        sum[r] = dot(sums[t * ROWS + r], vec4<f32>(1.0));
      }
      team_put(t, sum, local_index);
    }
    if (NORMED) {
      for (var i = 0u; i < SQUARES; i++) {
        team_put(TOKENS + i, squares[i], local_index);
      }
    }
    team_sync();
    for (var i = team_first(team.lane); i < SUMS; i += TEAM_STEP) {
      if (i < TOKENS || NORMED) {
        partial[(part * GROUPS + group) * SUMS + i] = team_sum(i, local_index);
      }
    }
    workgroupBarrier();
  }

  if (makes) {
    let group = local_index % GROUPS;
    var sum = vec4<f32>(0.0);
    var square = 0.0;
    for (var p = 0u; p < parts; p++) {
      sum += partial[(p * GROUPS + group) * SUMS + own_token];
      if (NORMED) {
        square += partial[p * GROUPS * SUMS + TOKENS + own_token / 4u][own_token % 4u];
      }
    }
    if (NORMED) {
      sum *= norm_scale(square);
    }
    out4_kept(kept, y_row, params.row_begin + n, sum, min(ROWS, row_count - n));
  }
}
