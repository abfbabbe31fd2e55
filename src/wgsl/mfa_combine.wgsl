// Joins the splits of mfa_decode: out[token, head] = sum_s e^(m_s - m) o_s / sum_s e^(m_s - m) l_s.
// One workgroup per token and head, one invocation per vec4 column.
//
// --- specialised ---
const HEADS: u32 = 4u;  // query heads
const D: u32 = 16u;     // head_dim; rows are padded to D8

const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;   // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> part_o: array<vec4<f32>>;   // [tokens, splits, HEADS, D8]
@group(0) @binding(3) var<storage, read> part_ml: array<vec2<f32>>;  // [tokens, splits, HEADS] of (max, sum)
@group(0) @binding(4) var<storage, read_write> attn: array<vec4<f32>>; // [tokens, HEADS, D8]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let local = workgroup_id.x;
  let head = workgroup_id.y;
  let token = params.token_begin + local;
  let used = places[token].y / params.split_len + 1u;
  let first = local * params.splits * HEADS + head;
  var m = -3.0e38;
  for (var s = 0u; s < used; s++) {
    m = max(m, part_ml[first + s * HEADS].x);
  }
  var sum = 0.0;
  for (var s = 0u; s < used; s++) {
    let ml = part_ml[first + s * HEADS];
    sum += exp(ml.x - m) * ml.y;
  }
  for (var c = li; c < COLUMNS; c += 64u) {
    var o = vec4<f32>(0.0);
    for (var s = 0u; s < used; s++) {
      let at = first + s * HEADS;
      o += exp(part_ml[at].x - m) * part_o[at * COLUMNS + c];
    }
    attn[(token * HEADS + head) * COLUMNS + c] = o / sum;
  }
}
