// Attention of one query position over one slice of its context: all heads of a group share every K and V row read.
//
// Workgroup (split, token, head group): up to 64 query heads of one KV head against a slice of the positions up to the
// token's own, or of its last WINDOW only. Heads go in fours (quads), whose scores and weights are one vec4. Per tile of 64 keys, or 32 when there
// are more than 32 heads:
//   1. scores: an invocation makes a quad x TILE keys over every PARTS-th pair of columns, so that few heads still
//      occupy all invocations; those of the first part add up the others;
//   2. softmax statistics: 8 invocations per quad find the maximum of the tile, then SOFT_LANES invocations per quad
//      turn scores into weights, each keeping the sum of its own keys;
//   3. values: an invocation owns one vec4 column, QUADS_PER_LANE quads and every KEY_GROUPS-th key.
// Sums and accumulators are joined after the last tile. Page-table entries are read one tile ahead.
// Results are unnormalised, with the maximum and the sum beside them; mfa_combine joins the splits.
// The order of additions depends on the position, splits and split_len only, not on the batch or on the pages.
//
// Workgroup memory is at most 13 KiB: 640 vec4s of scratch (40 heads, 3 parts), 128 of peaks, 16 of rescale, 128 rows.
// Library files give: load_k4, load_v4 and the scales of their rows (kv_*), first_seen and cache_row (positions),
// slice_length (slices).
//
// --- specialised ---
const HEADS: u32 = 4u;       // all query heads
const KV_HEADS: u32 = 1u;    // key/value heads, each of HEADS / KV_HEADS query heads
const GROUP: u32 = 4u;       // heads of a workgroup, a multiple of 4
const D: u32 = 16u;          // head_dim; rows are padded to D8
const PAGE: u32 = 64u;       // positions of a page
const WINDOW: u32 = 0u;      // positions that a query sees, which lie in a ring of pages; 0 = all before it

const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;  // even
const HEADS_PER_KV: u32 = HEADS / KV_HEADS;
const GROUPS_PER_KV: u32 = (HEADS_PER_KV + GROUP - 1u) / GROUP;
const QUADS: u32 = GROUP / 4u;
const KEYS: u32 = select(32u, 64u, QUADS <= 8u);
const LOWEST: vec4<f32> = vec4<f32>(-3.0e38);

// Scores: TILE keys of one quad per item, PARTS invocations per item.
const TILE: u32 = select(select(4u, 2u, QUADS <= 4u), 1u, QUADS == 1u);
const KEY_ITEMS: u32 = KEYS / TILE;
const ITEMS: u32 = QUADS * KEY_ITEMS;
const PARTS: u32 = 256u / ITEMS;
const PLANE: u32 = QUADS * KEYS;

// Softmax: a power of two, so that lanes divide the keys.
const SOFT_LANES: u32 = min(KEYS, 1u << firstLeadingBit(256u / QUADS));

// Values: (key group, row of quads, column) per invocation; key groups are a power of two and take four keys at a time.
const LANE_ROWS: u32 = 256u / COLUMNS;
const QUADS_PER_LANE: u32 = max((QUADS + LANE_ROWS - 1u) / LANE_ROWS, min(QUADS, 2u));
const QUAD_ROWS: u32 = (QUADS + QUADS_PER_LANE - 1u) / QUADS_PER_LANE;
const KEY_GROUPS: u32 = min(KEYS / 4u, 1u << firstLeadingBit(LANE_ROWS / QUAD_ROWS));
const KEY_LANES: u32 = QUAD_ROWS * COLUMNS;  // invocations of a key group
const JOIN: u32 = KEY_GROUPS / 2u * KEY_LANES;

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

// In turn: partial scores [PARTS - 1, QUADS, KEYS], scores and then weights [QUADS, KEYS], sums [QUADS, SOFT_LANES],
// accumulators [4, JOIN].
var<workgroup> scratch: array<vec4<f32>, max((max(PARTS, 2u) - 1u) * PLANE, max(QUADS * SOFT_LANES, 4u * JOIN))>;
var<workgroup> peaks: array<vec4<f32>, QUADS * 8u>;  // [QUADS, 8]
var<workgroup> rescale: array<vec4<f32>, QUADS>;
var<workgroup> rows: array<u32, 2u * KEYS>;          // [2, KEYS], of this tile and the next

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let token = params.token_begin + workgroup_id.y;
  let place = places[token];
  let first = first_seen(place.y);
  let length = slice_length(place.y + 1u - first);
  let begin = first + workgroup_id.x * length;
  let end = min(begin + length, place.y + 1u);
  if (begin >= end) {
    return;  // mfa_combine knows which splits are empty
  }
  let kv_head = workgroup_id.z / GROUPS_PER_KV;
  let head0 = kv_head * HEADS_PER_KV + workgroup_id.z % GROUPS_PER_KV * GROUP;
  let heads_end = (kv_head + 1u) * HEADS_PER_KV;
  let soft_quad = li / SOFT_LANES;
  let column = li % COLUMNS;
  let quad_row = li / COLUMNS % QUAD_ROWS;
  let key_group = li / KEY_LANES;
  var maximum = LOWEST;  // of soft_quad
  var sum = vec4<f32>(0.0);
  var acc: array<vec4<f32>, QUADS_PER_LANE * 4u>;

  if (li < KEYS) {
    rows[li] = cache_row(place.x, min(begin + li, end - 1u)) + kv_head;
  }
  workgroupBarrier();
  var now = 0u;  // where the rows of this tile begin
  for (var base = begin; base < end; base += KEYS) {
    let count = min(KEYS, end - base);
    var next_row = 0u;
    if (li < KEYS) {
      next_row = cache_row(place.x, min(base + KEYS + li, end - 1u)) + kv_head;
    }
    score(token, head0, li, now, count);
    if (li < KEYS) {
      rows[KEYS - now + li] = next_row;
    }
    workgroupBarrier();
    if (li < QUADS * 8u) {
      let first = li / 8u * KEYS;
      var m = LOWEST;
      for (var k = first + li % 8u; k < first + KEYS; k += 32u) {
        m = max(m, max(max(scratch[k], scratch[k + 8u]), max(scratch[k + 16u], scratch[k + 24u])));
      }
      peaks[li] = m;
    }
    workgroupBarrier();
    if (soft_quad < QUADS) {
      let before = maximum;
      for (var i = soft_quad * 8u; i < soft_quad * 8u + 8u; i += 4u) {
        maximum = max(maximum, max(max(peaks[i], peaks[i + 1u]), max(peaks[i + 2u], peaks[i + 3u])));
      }
      let factor = exp(before - maximum);
      sum *= factor;
      for (var k = li % SOFT_LANES; k < KEYS; k += SOFT_LANES) {
        let p = exp(scratch[soft_quad * KEYS + k] - maximum);
        scratch[soft_quad * KEYS + k] = p * v_scale(rows[now + k]);
        sum += p;
      }
      if (li % SOFT_LANES == 0u) {
        rescale[soft_quad] = factor;
      }
    }
    workgroupBarrier();
    if (key_group < KEY_GROUPS) {
      for (var a = 0u; a < QUADS_PER_LANE; a++) {
        let factor = rescale[min(quad_row + a * QUAD_ROWS, QUADS - 1u)];
        acc[4u * a] *= factor.x;
        acc[4u * a + 1u] *= factor.y;
        acc[4u * a + 2u] *= factor.z;
        acc[4u * a + 3u] *= factor.w;
      }
      // Keys from `count` on have a weight of zero and the row of the last key.
      for (var k = key_group; k < count; k += 4u * KEY_GROUPS) {
        let v0 = load_v4(rows[now + k], column);
        let v1 = load_v4(rows[now + k + KEY_GROUPS], column);
        let v2 = load_v4(rows[now + k + 2u * KEY_GROUPS], column);
        let v3 = load_v4(rows[now + k + 3u * KEY_GROUPS], column);
        for (var a = 0u; a < QUADS_PER_LANE; a++) {
          let at = min(quad_row + a * QUAD_ROWS, QUADS - 1u) * KEYS + k;
          let w0 = scratch[at];
          let w1 = scratch[at + KEY_GROUPS];
          let w2 = scratch[at + 2u * KEY_GROUPS];
          let w3 = scratch[at + 3u * KEY_GROUPS];
          acc[4u * a] = acc[4u * a] + w0.x * v0 + w1.x * v1 + w2.x * v2 + w3.x * v3;
          acc[4u * a + 1u] = acc[4u * a + 1u] + w0.y * v0 + w1.y * v1 + w2.y * v2 + w3.y * v3;
          acc[4u * a + 2u] = acc[4u * a + 2u] + w0.z * v0 + w1.z * v1 + w2.z * v2 + w3.z * v3;
          acc[4u * a + 3u] = acc[4u * a + 3u] + w0.w * v0 + w1.w * v1 + w2.w * v2 + w3.w * v3;
        }
      }
    }
    workgroupBarrier();
    now = KEYS - now;
  }

  let out = (workgroup_id.y * params.splits + workgroup_id.x) * HEADS + head0;
  if (soft_quad < QUADS) {
    scratch[li] = sum;
  }
  workgroupBarrier();
  if (li < QUADS * 8u) {
    let first = li / 8u * SOFT_LANES;
    var s = vec4<f32>(0.0);
    for (var i = first + li % 8u; i < first + SOFT_LANES; i += 8u) {
      s += scratch[i];
    }
    peaks[li] = s;
  }
  workgroupBarrier();
  if (soft_quad < QUADS && li % SOFT_LANES == 0u) {
    var s = vec4<f32>(0.0);
    for (var i = soft_quad * 8u; i < soft_quad * 8u + 8u; i += 4u) {
      s += (peaks[i] + peaks[i + 1u]) + (peaks[i + 2u] + peaks[i + 3u]);
    }
    for (var i = 0u; i < 4u; i++) {
      if (head0 + soft_quad * 4u + i < heads_end) {
        part_ml[out + soft_quad * 4u + i] = vec2<f32>(maximum[i], s[i]);
      }
    }
  }
  // The upper half of the key groups that had keys hands its accumulators to the lower half, until one is left.
  for (var groups = min(KEY_GROUPS, end - begin); groups > 1u;) {
    let half = (groups + 1u) / 2u;
    let slot = li % (half * KEY_LANES);
    for (var a = 0u; a < QUADS_PER_LANE * 4u; a += 4u) {
      if (key_group >= half && key_group < groups) {
        scratch[slot] = acc[a];
        scratch[JOIN + slot] = acc[a + 1u];
        scratch[2u * JOIN + slot] = acc[a + 2u];
        scratch[3u * JOIN + slot] = acc[a + 3u];
      }
      workgroupBarrier();
      if (key_group + half < groups) {
        acc[a] += scratch[slot];
        acc[a + 1u] += scratch[JOIN + slot];
        acc[a + 2u] += scratch[2u * JOIN + slot];
        acc[a + 3u] += scratch[3u * JOIN + slot];
      }
      workgroupBarrier();
    }
    groups = half;
  }
  if (key_group == 0u) {
    for (var a = 0u; a < QUADS_PER_LANE * 4u; a++) {
      let head = (quad_row + a / 4u * QUAD_ROWS) * 4u + a % 4u;
      if (head < GROUP && head0 + head < heads_end) {
        part_o[(out + head) * COLUMNS + column] = acc[a];
      }
    }
  }
}

// Scaled scores of the tile into scratch [QUADS, KEYS]; the lowest number for keys from `count` on.
fn score(token: u32, head0: u32, li: u32, now: u32, count: u32) {
  let item = li / PARTS;
  let part = li % PARTS;
  let quad = item / KEY_ITEMS;
  let key = item % KEY_ITEMS * TILE;
  let at = quad * KEYS + key;
  var s: array<vec4<f32>, TILE>;
  if (item < ITEMS && key < count) {
    let q0 = query_at(token, head0 + quad * 4u);
    let q1 = query_at(token, head0 + quad * 4u + 1u);
    let q2 = query_at(token, head0 + quad * 4u + 2u);
    let q3 = query_at(token, head0 + quad * 4u + 3u);
    var row: array<u32, TILE>;
    for (var t = 0u; t < TILE; t++) {
      row[t] = rows[now + key + t];
    }
    // Two columns at a time: their loads are under way together.
    for (var c = part * 2u; c < COLUMNS; c += PARTS * 2u) {
      let a0 = q_rope[q0 + c];
      let b0 = q_rope[q1 + c];
      let d0 = q_rope[q2 + c];
      let e0 = q_rope[q3 + c];
      let a1 = q_rope[q0 + c + 1u];
      let b1 = q_rope[q1 + c + 1u];
      let d1 = q_rope[q2 + c + 1u];
      let e1 = q_rope[q3 + c + 1u];
      for (var t = 0u; t < TILE; t++) {
        let k0 = load_k4(row[t], c);
        let k1 = load_k4(row[t], c + 1u);
        s[t] += vec4<f32>(dot(a0, k0), dot(b0, k0), dot(d0, k0), dot(e0, k0));
        s[t] += vec4<f32>(dot(a1, k1), dot(b1, k1), dot(d1, k1), dot(e1, k1));
      }
    }
    if (part > 0u) {
      for (var t = 0u; t < TILE; t++) {
        scratch[(part - 1u) * PLANE + at + t] = s[t];
      }
    }
  }
  workgroupBarrier();
  if (item < ITEMS && part == 0u) {
    for (var t = 0u; t < TILE; t++) {
      for (var plane = at + t; plane < (PARTS - 1u) * PLANE; plane += PLANE) {
        s[t] += scratch[plane];
      }
      scratch[at + t] = select(LOWEST, s[t] * (params.scale * k_scale(rows[now + key + t])), key + t < count);
    }
  }
}

// Where a head's query starts, in vec4s; heads beyond the last repeat it and are not stored.
fn query_at(token: u32, head: u32) -> u32 {
  return (token * HEADS + min(head, HEADS - 1u)) * COLUMNS;
}
