// Attention of one query position over one slice of its context: all heads of a group share every K and V row read.
//
// Workgroup (split, token, head group): up to 64 query heads against positions [split * split_len, ...) up to the
// token's own. Per tile of 32 keys:
//   1. scores: an invocation makes 4 heads x 2 keys, so a K row is read once for the group;
//   2. softmax statistics: one invocation per head rescales the running maximum and sum;
//   3. values: an invocation owns one vec4 column and every HEAD_LANES-th head, a V row is read once for the group.
// Results are unnormalised, with the maximum and the sum beside them; mfa_combine joins the splits.
// The order of additions depends on the position and split_len only, not on the batch or on the pages.
//
// The library kv_* gives load_k4 and load_v4.
//
// --- specialised ---
const HEADS: u32 = 4u;       // all query heads
const GROUP: u32 = 4u;       // heads of a workgroup, a multiple of 4
const D: u32 = 16u;          // head_dim; rows are padded to D8
const PAGE: u32 = 64u;       // positions of a page

const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;
const KEYS: u32 = 32u;
const HEAD_LANES: u32 = 256u / COLUMNS;
const HEADS_PER_LANE: u32 = (GROUP + HEAD_LANES - 1u) / HEAD_LANES;

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,
  max_pages: u32,  // entries per sequence in page_table
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;         // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> page_table: array<u32>;           // [sequences, max_pages]
@group(0) @binding(3) var<storage, read> q_rope: array<vec4<f32>>;         // [tokens, HEADS, D8]
@group(0) @binding(7) var<storage, read_write> part_o: array<vec4<f32>>;   // [tokens, splits, HEADS, D8]
@group(0) @binding(8) var<storage, read_write> part_ml: array<vec2<f32>>;  // [tokens, splits, HEADS] of (max, sum)

var<workgroup> rows: array<u32, KEYS>;
var<workgroup> scores: array<f32, GROUP * KEYS>;
var<workgroup> maximum: array<f32, GROUP>;
var<workgroup> total: array<f32, GROUP>;
var<workgroup> rescale: array<f32, GROUP>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let token = params.token_begin + workgroup_id.y;
  let place = places[token];
  let begin = workgroup_id.x * params.split_len;
  let end = min(begin + params.split_len, place.y + 1u);
  if (begin >= end) {
    return;  // mfa_combine knows which splits are empty
  }
  let head0 = workgroup_id.z * GROUP;
  let column = li % COLUMNS;
  let lane = li / COLUMNS;
  var acc: array<vec4<f32>, HEADS_PER_LANE>;
  if (li < GROUP) {
    maximum[li] = -3.0e38;
    total[li] = 0.0;
  }

  for (var base = begin; base < end; base += KEYS) {
    let count = min(KEYS, end - base);
    if (li < KEYS) {
      let position = min(base + li, end - 1u);
      rows[li] = page_table[place.x * params.max_pages + position / PAGE] * PAGE + position % PAGE;
    }
    workgroupBarrier();
    for (var item = li; item < GROUP / 4u * (KEYS / 2u); item += 256u) {
      score(token, head0, item / (KEYS / 2u) * 4u, item % (KEYS / 2u));
    }
    workgroupBarrier();
    if (li < GROUP) {
      var m = maximum[li];
      for (var k = 0u; k < count; k++) {
        m = max(m, scores[li * KEYS + k]);
      }
      let factor = exp(maximum[li] - m);
      var sum = total[li] * factor;
      for (var k = 0u; k < count; k++) {
        let p = exp(scores[li * KEYS + k] - m);
        scores[li * KEYS + k] = p;
        sum += p;
      }
      maximum[li] = m;
      total[li] = sum;
      rescale[li] = factor;
    }
    workgroupBarrier();
    if (lane < HEAD_LANES) {
      for (var a = 0u; a < HEADS_PER_LANE; a++) {
        acc[a] *= rescale[min(lane + a * HEAD_LANES, GROUP - 1u)];
      }
      for (var k = 0u; k < count; k++) {
        let v = load_v4(rows[k], column);
        for (var a = 0u; a < HEADS_PER_LANE; a++) {
          acc[a] += scores[min(lane + a * HEAD_LANES, GROUP - 1u) * KEYS + k] * v;
        }
      }
    }
    workgroupBarrier();
  }

  let out = (workgroup_id.y * params.splits + workgroup_id.x) * HEADS + head0;
  if (lane < HEAD_LANES) {
    for (var a = 0u; a < HEADS_PER_LANE; a++) {
      let head = lane + a * HEAD_LANES;
      if (head < GROUP && head0 + head < HEADS) {
        part_o[(out + head) * COLUMNS + column] = acc[a];
      }
    }
  }
  if (li < GROUP && head0 + li < HEADS) {
    part_ml[out + li] = vec2<f32>(maximum[li], total[li]);
  }
}

// Scores of heads h .. h + 3 of the group against keys k and k + KEYS / 2 of the tile.
fn score(token: u32, head0: u32, h: u32, k: u32) {
  let q0 = query_at(token, head0 + h);
  let q1 = query_at(token, head0 + h + 1u);
  let q2 = query_at(token, head0 + h + 2u);
  let q3 = query_at(token, head0 + h + 3u);
  let near = rows[k];
  let far = rows[k + KEYS / 2u];
  var s0 = vec4<f32>(0.0);
  var s1 = vec4<f32>(0.0);
  // A bound that is not constant: drivers that unroll every constant loop take many times longer to compile this one.
  for (var at = q0; at < q0 + COLUMNS; at++) {
    let c = at - q0;
    let k0 = load_k4(near, c);
    let k1 = load_k4(far, c);
    let a = q_rope[at];
    let b = q_rope[q1 + c];
    let d = q_rope[q2 + c];
    let e = q_rope[q3 + c];
    s0 += vec4<f32>(dot(a, k0), dot(b, k0), dot(d, k0), dot(e, k0));
    s1 += vec4<f32>(dot(a, k1), dot(b, k1), dot(d, k1), dot(e, k1));
  }
  for (var i = 0u; i < 4u; i++) {
    scores[(h + i) * KEYS + k] = s0[i] * params.scale;
    scores[(h + i) * KEYS + k + KEYS / 2u] = s1[i] * params.scale;
  }
}

// Where a head's query starts, in vec4s; heads beyond the last repeat it and are not stored.
fn query_at(token: u32, head: u32) -> u32 {
  return (token * HEADS + min(head, HEADS - 1u)) * COLUMNS;
}
