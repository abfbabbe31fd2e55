// y[token, n] = out( sum_k x[token, k] * w[n, k] ) for many tokens: bound by arithmetic.
//
// A workgroup of 256 computes a tile of 64 tokens x 64 rows; each invocation holds 4 x 4 sums. Columns are walked 16 at
// a time through workgroup memory, stored [k][token] and [k][row].
// Each sum adds its columns in order, whatever the number of tokens.
//
// Library files give load_weight8 (weight_*), load_x8 (x_blocks), tile_item (rows_*) and out4 (out_*).
//
// --- specialised ---
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8

const TOKENS: u32 = 64u;
const ROWS: u32 = 64u;
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

// Scalars, since storing one component of a shared vec4 may touch its neighbours.
var<workgroup> x_tile: array<f32, 1024>;  // [16, 64]: k, token
var<workgroup> w_tile: array<f32, 1024>;  // [16, 64]: k, row

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let tile = workgroup_id.y;
  let expert = tile_expert(tile);
  if (expert < params.expert_begin || expert - params.expert_begin >= params.expert_count) {
    return;
  }
  let first = workgroup_id.x * ROWS;
  let base = (expert - params.expert_begin) * params.row_count;

  // Loading: invocations 0..127 bring x, the others w; each one block of 8 columns of one row.
  let load_row = (li % 128u) / 2u;
  let load_block = li % 2u;
  let x_row = tile_item(tile, load_row).x_row;
  let w_row = base + min(first + load_row, params.row_count - 1u);

  // Computing: 16 x 16 invocations, 4 tokens x 4 rows each.
  let token4 = li / 16u;
  let row4 = li % 16u;
  var s0 = vec4<f32>(0.0);
  var s1 = vec4<f32>(0.0);
  var s2 = vec4<f32>(0.0);
  var s3 = vec4<f32>(0.0);

  for (var block = 0u; block < BLOCKS; block += 2u) {
    var b = Block8(vec4<f32>(0.0), vec4<f32>(0.0));
    if (block + load_block < BLOCKS) {
      if (li < 128u) {
        b = load_x8(x_row, block + load_block);
      } else {
        b = load_weight8(w_row, block + load_block);
      }
    }
    let at = load_block * 512u + load_row;
    for (var k = 0u; k < 4u; k++) {
      if (li < 128u) {
        x_tile[at + k * 64u] = b.lo[k];
        x_tile[at + k * 64u + 256u] = b.hi[k];
      } else {
        w_tile[at + k * 64u] = b.lo[k];
        w_tile[at + k * 64u + 256u] = b.hi[k];
      }
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      let xa = k * 64u + token4 * 4u;
      let wa = k * 64u + row4 * 4u;
      let wv = vec4<f32>(w_tile[wa], w_tile[wa + 1u], w_tile[wa + 2u], w_tile[wa + 3u]);
      s0 += x_tile[xa] * wv;
      s1 += x_tile[xa + 1u] * wv;
      s2 += x_tile[xa + 2u] * wv;
      s3 += x_tile[xa + 3u] * wv;
    }
    workgroupBarrier();
  }

  let n = first + row4 * 4u;
  if (n >= params.row_count) {
    return;
  }
  let count = min(4u, params.row_count - n);
  store(tile, token4 * 4u, n, s0, count);
  store(tile, token4 * 4u + 1u, n, s1, count);
  store(tile, token4 * 4u + 2u, n, s2, count);
  store(tile, token4 * 4u + 3u, n, s3, count);
}

fn store(tile: u32, i: u32, n: u32, v: vec4<f32>, count: u32) {
  let item = tile_item(tile, i);
  if (item.valid) {
    out4(item.y_row, params.row_begin + n, v, count);
  }
}
