// Rotary embedding (NEOX halves: element i pairs with i + D/2) of the queries and the new key, and the write of the new
// key and value into their page of the cache. One invocation makes four elements of one head.
//
// The library kv_store_* gives store_k4 and store_v4, turns gives rotation().
//
// --- specialised ---
const HEADS: u32 = 4u;       // query heads
const D: u32 = 16u;          // head_dim, all of it rotated; rows are padded to D8
const QKV_STRIDE: u32 = 64u; // elements of a row of qkv
const K_AT: u32 = 32u;       // where the key starts in a row of qkv; the value follows D8 later
const PAGE: u32 = 64u;       // positions of a page

const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;

struct Params {
  max_pages: u32,  // entries per sequence in page_table
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;      // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> page_table: array<u32>;        // [sequences, max_pages]
@group(0) @binding(3) var<storage, read> frequencies: array<vec2<u32>>; // [D / 2], 64-bit fractions of a turn
@group(0) @binding(4) var<storage, read> q: array<f32>;                 // [tokens, HEADS, D8]
@group(0) @binding(5) var<storage, read> qkv: array<f32>;               // [tokens, QKV_STRIDE]
@group(0) @binding(6) var<storage, read_write> q_rope: array<vec4<f32>>; // [tokens, HEADS, D8]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let token = id.y;
  let head = id.x / COLUMNS;
  let c = id.x % COLUMNS;
  if (head >= HEADS + 2u) {
    return;
  }
  let place = places[token];
  if (head < HEADS) {
    let at = (token * HEADS + head) * D8;
    q_rope[at / 4u + c] = vec4<f32>(
      turned(at, c * 4u, place.y, true), turned(at, c * 4u + 1u, place.y, true),
      turned(at, c * 4u + 2u, place.y, true), turned(at, c * 4u + 3u, place.y, true));
    return;
  }
  let row = page_table[place.x * params.max_pages + place.y / PAGE] * PAGE + place.y % PAGE;
  let at = token * QKV_STRIDE + K_AT;
  if (head == HEADS) {
    store_k4(row, c, vec4<f32>(
      turned(at, c * 4u, place.y, false), turned(at, c * 4u + 1u, place.y, false),
      turned(at, c * 4u + 2u, place.y, false), turned(at, c * 4u + 3u, place.y, false)));
  } else {
    var v = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i++) {
      if (c * 4u + i < D) {
        v[i] = qkv[at + D8 + c * 4u + i];
      }
    }
    store_v4(row, c, v);
  }
}

// Element i of a head that starts at `at`, rotated; 0 in the padding.
fn turned(at: u32, i: u32, position: u32, of_query: bool) -> f32 {
  if (i >= D) {
    return 0.0;
  }
  let half = D / 2u;
  let first = i < half;
  let partner = select(i - half, i + half, first);
  let sc = rotation(position, frequencies[i % half]);
  var own = 0.0;
  var other = 0.0;
  if (of_query) {
    own = q[at + i];
    other = q[at + partner];
  } else {
    own = qkv[at + i];
    other = qkv[at + partner];
  }
  return own * sc.y + select(other, -other, first) * sc.x;
}
