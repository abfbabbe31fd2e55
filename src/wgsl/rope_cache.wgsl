// Rotary embedding (NEOX halves: element i pairs with i + D/2) of the queries and the new key, and the write of the new
// key and value into their row of the cache. One invocation makes four elements of one head. For head_dims whose pairs
// do not fall into groups of four rows; others are rotated where the linear layers store them (out_rope_q, out_qkv).
//
// The library kv_store_* gives kv_row, store_k2 and store_v2.
//
// --- specialised ---
const HEADS: u32 = 4u;       // query heads
const D: u32 = 16u;          // head_dim, all of it rotated; rows are padded to D8
const QKV_STRIDE: u32 = 64u; // elements of a row of qkv
const K_AT: u32 = 32u;       // where the key starts in a row of qkv; the value follows D8 later

const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;

@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;        // [tokens, D / 2] of (cos, sin)
@group(0) @binding(4) var<storage, read> q: array<f32>;                  // [tokens, HEADS, D8]
@group(0) @binding(5) var<storage, read> qkv: array<f32>;                // [tokens, QKV_STRIDE]
@group(0) @binding(6) var<storage, read_write> q_rope: array<vec4<f32>>; // [tokens, HEADS, D8]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let token = id.y;
  let head = id.x / COLUMNS;
  let c = id.x % COLUMNS;
  if (head >= HEADS + 2u) {
    return;
  }
  if (head < HEADS) {
    let at = (token * HEADS + head) * D8;
    q_rope[at / 4u + c] = vec4<f32>(
      turned(token, at, c * 4u, true), turned(token, at, c * 4u + 1u, true),
      turned(token, at, c * 4u + 2u, true), turned(token, at, c * 4u + 3u, true));
    return;
  }
  let row = kv_row(token);
  let at = token * QKV_STRIDE + K_AT;
  if (head == HEADS) {
    store_k2(row, c * 2u, vec2<f32>(turned(token, at, c * 4u, false), turned(token, at, c * 4u + 1u, false)));
    store_k2(
      row, c * 2u + 1u, vec2<f32>(turned(token, at, c * 4u + 2u, false), turned(token, at, c * 4u + 3u, false)));
  } else {
    var v = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i++) {
      if (c * 4u + i < D) {
        v[i] = qkv[at + D8 + c * 4u + i];
      }
    }
    store_v2(row, c * 2u, v.xy);
    store_v2(row, c * 2u + 1u, v.zw);
  }
}

// Element i of a head that starts at `at`, rotated; 0 in the padding.
fn turned(token: u32, at: u32, i: u32, of_query: bool) -> f32 {
  if (i >= D) {
    return 0.0;
  }
  let half = D / 2u;
  let first = i < half;
  let partner = select(i - half, i + half, first);
  let cs = turns[token * half + i % half];
  var own = 0.0;
  var other = 0.0;
  if (of_query) {
    own = q[at + i];
    other = q[at + partner];
  } else {
    own = qkv[at + i];
    other = qkv[at + partner];
  }
  return own * cs.x + select(other, -other, first) * cs.y;
}
