// From a row of the fused q/k/v projection to what attention reads: every query and key head is divided by its root mean
// square and multiplied with its gamma, then its first ROTARY elements are rotated (NEOX halves: element i pairs with
// i + ROTARY/2); keys and values go to their row of the cache.
//
// A workgroup owns HEADS_EACH heads, an invocation four elements of one. All loads come first, so that they are under way
// together and no element is read twice: invocations of a head meet in workgroup memory, behind a single barrier.
// The order of additions depends on D alone.
//
// The library kv_store_* gives kv_row, store_k2 and store_v2.
//
// --- specialised ---
const WG: u32 = 64u;       // invocations of a workgroup, at least COLUMNS
const HEADS: u32 = 4u;     // query heads
const KV_HEADS: u32 = 2u;  // key/value heads
const D: u32 = 16u;        // head_dim; heads are padded to D8
const ROTARY: u32 = 16u;   // elements of a head that are rotated, even
const STRIDE: u32 = 64u;   // elements of a row of qkv: query heads, key heads, value heads, and what else there is

const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;  // even
const HALF: u32 = ROTARY / 2u;
const HEADS_EACH: u32 = WG / COLUMNS;
const ALL_HEADS: u32 = HEADS + 2u * KV_HEADS;

struct Params {
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;        // [tokens, HALF] of (cos, sin)
@group(0) @binding(3) var<storage, read> q_norm: array<vec4<f32>>;       // [D8]
@group(0) @binding(4) var<storage, read> k_norm: array<vec4<f32>>;       // [D8]
@group(0) @binding(5) var<storage, read> qkv: array<vec4<f32>>;          // [tokens, STRIDE]
@group(0) @binding(6) var<storage, read_write> q_rope: array<vec4<f32>>; // [tokens, HEADS, D8]

var<workgroup> weighted: array<vec4<f32>, WG>;  // elements times their gamma
var<workgroup> squares: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let token = workgroup_id.y;
  let c = li % COLUMNS;
  let head = workgroup_id.x * HEADS_EACH + li / COLUMNS;
  let here = li < HEADS_EACH * COLUMNS && head < ALL_HEADS;
  let row = kv_row(token) * KV_HEADS + (head - HEADS) % KV_HEADS;
  var x = vec4<f32>(0.0);
  var cosines = vec4<f32>(1.0);
  var sines = vec4<f32>(0.0);
  if (here) {
    let i = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let given = qkv[(token * STRIDE + head * D8) / 4u + c];
    for (var j = 0u; j < 4u; j++) {
      let turn = turns[token * HALF + i[j] % HALF];
      cosines[j] = select(1.0, turn.x, i[j] < ROTARY);
      sines[j] = select(0.0, select(turn.y, -turn.y, i[j] < HALF), i[j] < ROTARY);
    }
    var gamma = vec4<f32>(1.0);
    if (head < HEADS) {
      gamma = q_norm[c];
    } else if (head < HEADS + KV_HEADS) {
      gamma = k_norm[c];
    }
    // What lies beyond D is padding that nobody wrote.
    x = select(vec4<f32>(0.0), given, i < vec4<u32>(D));
    weighted[li] = x * gamma;
    squares[li] = dot(x, x);
  }
  workgroupBarrier();
  if (!here) {
    return;
  }
  if (head >= HEADS + KV_HEADS) {
    store_v2(row, c * 2u, x.xy);
    store_v2(row, c * 2u + 1u, x.zw);
    return;
  }
  let first = li - c;
  var sum = vec2<f32>(0.0);
  for (var other = first; other < first + COLUMNS; other += 2u) {
    sum += vec2<f32>(squares[other], squares[other + 1u]);
  }
  let scale = inverseSqrt((sum.x + sum.y) / f32(D) + params.eps);
  let y = scale * (weighted[li] * cosines + partners(first, c) * sines);
  if (head < HEADS) {
    q_rope[(token * HEADS + head) * COLUMNS + c] = y;
  } else {
    store_k2(row, c * 2u, y.xy);
    store_k2(row, c * 2u + 1u, y.zw);
  }
}

// What the elements of column c are rotated with; anything where they are not. `first`: where their head begins.
fn partners(first: u32, c: u32) -> vec4<f32> {
  if (HALF % 4u == 0u) {
    let quarter = HALF / 4u;
    return weighted[first + select(c % quarter, c + quarter, c < quarter)];
  }
  var others = vec4<f32>(0.0);
  for (var j = 0u; j < 4u; j++) {
    let i = c * 4u + j;
    let other = select(i % HALF, i + HALF, i < HALF);
    others[j] = weighted[first + other / 4u][other % 4u];
  }
  return others;
}
