// y[token, n] = out( sum over parts of the columns ), for the rows of w whose columns matmul_matrix has parted.
// An invocation makes four rows of a token. Library files give y (y_*) and out4 (out_*).
//
// --- specialised ---
const PARTS: u32 = 2u;  // parts of the columns
const QUADS: u32 = 16u; // fours of rows

struct Params {
  tokens: u32,
  row_begin: u32,  // rows n in this shard of w
  row_count: u32,
  y_stride: u32,
  row_from: u32,   // the first of this shard whose columns are parted
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> parts: array<vec4<f32>>;  // [PARTS, tokens, QUADS]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= QUADS) {
    return;
  }
  var v = vec4<f32>(0.0);
  for (var part = 0u; part < PARTS; part++) {
    v += parts[(part * params.tokens + id.y) * QUADS + id.x];
  }
  let n = params.row_from + id.x * 4u;
  out4(id.y, params.row_begin + n, v, min(4u, params.row_count - n));
}
