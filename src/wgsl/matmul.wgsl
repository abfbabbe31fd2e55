// y[token, n] = out( sum_k x[token, k] * w[n, k] ) for many tokens: bound by arithmetic.
//
// A workgroup of 128 computes a tile of 64 tokens x 64 rows; each invocation holds 8 x 4 sums, so that twelve loads of
// four columns from workgroup memory feed 128 multiply-adds. Columns are walked 16 at a time; the next ones are already on
// their way while the present ones are multiplied.
// Tokens and rows lie in workgroup memory in an order in which neighbours store side by side and read side by side, so that
// neither meets in the same banks.
// Each sum adds its columns in order, whatever the number of tokens.
//
// Library files give load_weight8 (weight_*), load_x8 (x_blocks), tile_item (rows_*) and out4 (out_*).
//
// --- specialised ---
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8

const TOKENS: u32 = 64u;
const ROWS: u32 = 64u;
const TOKEN_GROUPS: u32 = TOKENS / 8u;
const ROW_GROUPS: u32 = ROWS / 4u;
const BLOCKS: u32 = (K + 7u) / 8u;

struct Params {
  tokens: u32,        // result rows (dense)
  expert_begin: u32,  // experts in this shard of w
  expert_count: u32,
  row_begin: u32,     // rows n of each expert in this shard of w
  row_count: u32,
  y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;       // [x rows, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [tokens, y_stride]

// Four columns of a token or row each: [4 quarters of the 16 columns, 8 tokens or 4 rows of a group, group].
var<workgroup> x_tile: array<vec4<f32>, 4u * TOKENS>;
var<workgroup> w_tile: array<vec4<f32>, 4u * ROWS>;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let tile = workgroup_id.x;
  let expert = tile_expert(tile);
  if (expert < params.expert_begin || expert - params.expert_begin >= params.expert_count) {
    return;
  }
  let first = workgroup_id.y * ROWS;
  let base = (expert - params.expert_begin) * params.row_count;

  // Loading: every invocation brings a block of 8 columns of w and one of x.
  let slot = li % 64u;
  let part = li / 64u;
  let x_row = tile_item(tile, slot % TOKEN_GROUPS * 8u + slot / TOKEN_GROUPS).x_row;
  let w_row = base + min(first + slot % ROW_GROUPS * 4u + slot / ROW_GROUPS, params.row_count - 1u);
  let x_at = part * 2u * TOKENS + slot;
  let w_at = part * 2u * ROWS + slot;
  var x_next = x_block(x_row, part);
  var w_next = w_block(w_row, part);

  // Computing: 32 neighbours have 32 tokens x 32 rows.
  let token_group = li / 64u * 4u + li % 32u / 8u;
  let row_group = li / 32u % 2u * 8u + li % 8u;
  var s0 = vec4<f32>(0.0);
  var s1 = vec4<f32>(0.0);
  var s2 = vec4<f32>(0.0);
  var s3 = vec4<f32>(0.0);
  var s4 = vec4<f32>(0.0);
  var s5 = vec4<f32>(0.0);
  var s6 = vec4<f32>(0.0);
  var s7 = vec4<f32>(0.0);

  for (var block = 0u; block < BLOCKS; block += 2u) {
    x_tile[x_at] = x_next.lo;
    x_tile[x_at + TOKENS] = x_next.hi;
    w_tile[w_at] = w_next.lo;
    w_tile[w_at + ROWS] = w_next.hi;
    workgroupBarrier();
    x_next = x_block(x_row, block + 2u + part);
    w_next = w_block(w_row, block + 2u + part);
    for (var quarter = 0u; quarter < 4u; quarter++) {
      let wa = quarter * ROWS + row_group;
      let w0 = w_tile[wa];
      let w1 = w_tile[wa + ROW_GROUPS];
      let w2 = w_tile[wa + 2u * ROW_GROUPS];
      let w3 = w_tile[wa + 3u * ROW_GROUPS];
      let columns = mat4x4<f32>(
        vec4<f32>(w0.x, w1.x, w2.x, w3.x), vec4<f32>(w0.y, w1.y, w2.y, w3.y),
        vec4<f32>(w0.z, w1.z, w2.z, w3.z), vec4<f32>(w0.w, w1.w, w2.w, w3.w));
      let xa = quarter * TOKENS + token_group;
      s0 = add_columns(s0, x_tile[xa], columns);
      s1 = add_columns(s1, x_tile[xa + TOKEN_GROUPS], columns);
      s2 = add_columns(s2, x_tile[xa + 2u * TOKEN_GROUPS], columns);
      s3 = add_columns(s3, x_tile[xa + 3u * TOKEN_GROUPS], columns);
      s4 = add_columns(s4, x_tile[xa + 4u * TOKEN_GROUPS], columns);
      s5 = add_columns(s5, x_tile[xa + 5u * TOKEN_GROUPS], columns);
      s6 = add_columns(s6, x_tile[xa + 6u * TOKEN_GROUPS], columns);
      s7 = add_columns(s7, x_tile[xa + 7u * TOKEN_GROUPS], columns);
    }
    workgroupBarrier();
  }

  let n = first + row_group * 4u;
  let token8 = token_group * 8u;
  if (n >= params.row_count) {
    return;
  }
  let count = min(4u, params.row_count - n);
  store(tile, token8, n, s0, count);
  store(tile, token8 + 1u, n, s1, count);
  store(tile, token8 + 2u, n, s2, count);
  store(tile, token8 + 3u, n, s3, count);
  store(tile, token8 + 4u, n, s4, count);
  store(tile, token8 + 5u, n, s5, count);
  store(tile, token8 + 6u, n, s6, count);
  store(tile, token8 + 7u, n, s7, count);
}

// sums + x . columns, column after column.
fn add_columns(sums: vec4<f32>, x: vec4<f32>, columns: mat4x4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(x.x), columns[0], sums);
  s = fma(vec4<f32>(x.y), columns[1], s);
  s = fma(vec4<f32>(x.z), columns[2], s);
  return fma(vec4<f32>(x.w), columns[3], s);
}

// Blocks beyond the last are zero.
fn x_block(row: u32, block: u32) -> Block8 {
  if (block < BLOCKS) {
    return load_x8(row, block);
  }
  return Block8(vec4<f32>(0.0), vec4<f32>(0.0));
}

fn w_block(row: u32, block: u32) -> Block8 {
  if (block < BLOCKS) {
    return load_weight8(row, block);
  }
  return Block8(vec4<f32>(0.0), vec4<f32>(0.0));
}

fn store(tile: u32, i: u32, n: u32, v: vec4<f32>, count: u32) {
  let item = tile_item(tile, i);
  if (item.valid) {
    out4(item.y_row, params.row_begin + n, v, count);
  }
}
