// From a row of the fused q/k/v projection to what attention reads: every query and key head is divided by its root mean
// square and multiplied with its gamma, then its first ROTARY elements are rotated (NEOX halves: element i pairs with
// i + ROTARY/2); keys and values go to their row of the cache. One invocation makes four elements of one head, and adds
// up the squares of the whole head for itself: heads are short, and no invocation waits for another.
// The order of additions depends on D alone.
//
// The library kv_store_* gives kv_row, store_k2 and store_v2.
//
// --- specialised ---
const HEADS: u32 = 4u;     // query heads
const KV_HEADS: u32 = 2u;  // key/value heads
const D: u32 = 16u;        // head_dim; heads are padded to D8
const ROTARY: u32 = 16u;   // elements of a head that are rotated, even
const STRIDE: u32 = 64u;   // elements of a row of qkv: query heads, key heads, value heads, and what else there is

const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;
const HALF: u32 = ROTARY / 2u;

struct Params {
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;        // [tokens, HALF] of (cos, sin)
@group(0) @binding(3) var<storage, read> q_norm: array<f32>;             // [D8]
@group(0) @binding(4) var<storage, read> k_norm: array<f32>;             // [D8]
@group(0) @binding(5) var<storage, read> qkv: array<vec4<f32>>;          // [tokens, STRIDE]
@group(0) @binding(6) var<storage, read_write> q_rope: array<vec4<f32>>; // [tokens, HEADS, D8]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let token = id.y;
  let head = id.x / COLUMNS;
  let c = id.x % COLUMNS;
  if (head >= HEADS + 2u * KV_HEADS) {
    return;
  }
  let at = token * STRIDE + head * D8;
  if (head < HEADS) {
    q_rope[(token * HEADS + head) * COLUMNS + c] = turned4(token, at, c, true);
    return;
  }
  let kv_head = (head - HEADS) % KV_HEADS;
  let row = kv_row(token) * KV_HEADS + kv_head;
  if (head < HEADS + KV_HEADS) {
    let k = turned4(token, at, c, false);
    store_k2(row, c * 2u, k.xy);
    store_k2(row, c * 2u + 1u, k.zw);
    return;
  }
  let v = column(at, c);
  store_v2(row, c * 2u, v.xy);
  store_v2(row, c * 2u + 1u, v.zw);
}

// Column c of the head that starts at element `at`; zero beyond D.
fn column(at: u32, c: u32) -> vec4<f32> {
  let i = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
  return select(vec4<f32>(0.0), qkv[at / 4u + c], i < vec4<u32>(D));
}

// Column c of a head, normalised and rotated.
fn turned4(token: u32, at: u32, c: u32, of_query: bool) -> vec4<f32> {
  var squares = 0.0;
  for (var other = 0u; other < COLUMNS; other++) {
    let x = column(at, other);
    squares += dot(x, x);
  }
  let scale = inverseSqrt(squares / f32(D) + params.eps);
  return scale * vec4<f32>(
    turned(token, at, c * 4u, of_query), turned(token, at, c * 4u + 1u, of_query),
    turned(token, at, c * 4u + 2u, of_query), turned(token, at, c * 4u + 3u, of_query));
}

// Element i of a head, times its gamma, rotated; 0 in the padding.
fn turned(token: u32, at: u32, i: u32, of_query: bool) -> f32 {
  if (i >= D) {
    return 0.0;
  }
  let own = weighted(at, i, of_query);
  if (i >= ROTARY) {
    return own;
  }
  let first = i < HALF;
  let other = weighted(at, select(i - HALF, i + HALF, first), of_query);
  let cs = turns[token * HALF + i % HALF];
  return own * cs.x + select(other, -other, first) * cs.y;
}

fn weighted(at: u32, i: u32, of_query: bool) -> f32 {
  var gamma = 0.0;
  if (of_query) {
    gamma = q_norm[i];
  } else {
    gamma = k_norm[i];
  }
  return qkv[(at + i) / 4u][i % 4u] * gamma;
}
