// Attention of one query position over one slice of its context, for steps of so few tokens that latency counts: four
// query heads of one KV head (a quad) per workgroup, so that many workgroups share the work, and K and V of a whole tile
// of KEYS positions under way together, before anything waits.
//
// Workgroup (split, token, quad). Per tile:
//   1. scores: PARTS invocations share the columns of a key; an invocation keeps its columns of the four queries for all
//      tiles, and takes every KEY_TEAMS-th key. Sums over the parts go through workgroup memory in ROUNDS rounds, after
//      which invocation k holds the scores of key k, one vec4 for the quad;
//   2. softmax statistics, through PEAKS partial maxima that every invocation reads;
//   3. values: an invocation owns one vec4 column and every KEY_GROUPS-th key.
// Accumulators and sums of weights are joined after the last tile. Page-table entries are read one tile ahead.
// The order of additions depends on the position and split_len only.
//
// Workgroup memory is at most 14 KiB: 544 vec4s of scratch (32 parts), 256 of scores, 16 of peaks, 256 rows.
// Library files give: load_k4, load_v4 and the scales of their rows (kv_*), first_seen and cache_row (positions), gate
// (gate_*), store_head (attend_*).
//
// --- specialised ---
const HEADS: u32 = 4u;     // all query heads
const KV_HEADS: u32 = 1u;  // key/value heads, each of HEADS / KV_HEADS query heads
const D: u32 = 16u;        // head_dim; rows are padded to D8
const PAGE: u32 = 64u;     // positions of a page
const WINDOW: u32 = 0u;    // positions that a query sees, which lie in a ring of pages; 0 = all before it
const PARTS: u32 = 1u;     // invocations that share the columns of a key, four each: a power of two
const KEYS: u32 = 256u;    // positions of a tile: 256, or 1024 / PARTS if that is less

const WG: u32 = 256u;
const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;  // even
const HEADS_PER_KV: u32 = HEADS / KV_HEADS;
const QUADS_PER_KV: u32 = (HEADS_PER_KV + 3u) / 4u;
const LOWEST: vec4<f32> = vec4<f32>(-3.0e38);
const PEAKS: u32 = 16u;

const KEY_TEAMS: u32 = WG / PARTS;
const KEYS_EACH: u32 = max(KEYS / KEY_TEAMS, 1u);        // keys of an invocation, at most 4
const ROUND_EACH: u32 = min(KEYS_EACH, 2u);              // of those, in a round
const ROUNDS: u32 = KEYS_EACH / ROUND_EACH;
const ROUND_KEYS: u32 = ROUND_EACH * KEY_TEAMS;
const PLANE: u32 = ROUND_KEYS + 1u;                      // the parts of a key lie in different memory banks

const KEY_GROUPS: u32 = min(KEYS / 4u, 1u << firstLeadingBit(WG / COLUMNS));  // a power of two, at least 2
const KEY_LANES: u32 = KEY_GROUPS * COLUMNS;
const VALUE_FOURS: u32 = KEYS / KEY_GROUPS / 4u;         // keys of an invocation, by fours, at most 4
const JOIN: u32 = KEY_LANES / 2u;
const RESULTS: u32 = (4u * COLUMNS + WG - 1u) / WG;      // (head, column) pairs that an invocation stores

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,
  max_pages: u32,  // entries per sequence in page_table
  scale: f32,
}

struct Four {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;  // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> page_table: array<u32>;    // [sequences, max_pages]
@group(0) @binding(3) var<storage, read> q_rope: array<vec4<f32>>;  // [tokens, HEADS, D8]

// In turn: partial scores [PARTS, PLANE], accumulators [4, JOIN].
var<workgroup> scratch: array<vec4<f32>, max(PARTS * PLANE, 4u * JOIN)>;
var<workgroup> scores: array<vec4<f32>, KEYS>;  // then weights, then sums of weights
var<workgroup> peaks: array<vec4<f32>, PEAKS>;
var<workgroup> rows: array<u32, KEYS>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let token = params.token_begin + workgroup_id.y;
  let kv_head = workgroup_id.z / QUADS_PER_KV;
  let head0 = kv_head * HEADS_PER_KV + workgroup_id.z % QUADS_PER_KV * 4u;
  let last_head = (kv_head + 1u) * HEADS_PER_KV - 1u;
  let part = li % PARTS;
  let team = li / PARTS;
  let column = li % COLUMNS;
  let key_group = min(li / COLUMNS, KEY_GROUPS - 1u);  // invocations beyond the last repeat it and are not counted

  // What does not depend on the place is asked for before it is known.
  var q: array<Four, 4>;
  for (var h = 0u; h < 4u; h++) {
    q[h] = query_columns((token * HEADS + min(head0 + h, last_head)) * COLUMNS, part);
  }
  var gates_of: array<f32, RESULTS>;
  for (var i = 0u; i < RESULTS; i++) {
    gates_of[i] = gate(token, min(head0 + (li + i * WG) / COLUMNS, last_head));
  }
  let place = places[token];
  let begin = first_seen(place.y) + workgroup_id.x * params.split_len;
  let end = min(begin + params.split_len, place.y + 1u);
  if (begin >= end) {
    return;  // mfa_combine knows which splits are empty
  }
  if (li < KEYS) {
    rows[li] = cache_row(place.x, min(begin + li, end - 1u)) + kv_head;
  }
  workgroupBarrier();

  var maximum = LOWEST;
  var sum = vec4<f32>(0.0);  // of the weights of key li of every tile
  var acc: array<vec4<f32>, 4>;
  for (var base = begin; base < end; base += KEYS) {
    var keys: array<Four, KEYS_EACH>;
    for (var i = 0u; i < KEYS_EACH; i++) {
      keys[i] = key_columns(rows[i * KEY_TEAMS + team], part);
    }
    var values: array<Four, VALUE_FOURS>;
    for (var i = 0u; i < VALUE_FOURS; i++) {
      let at = i * 4u * KEY_GROUPS + key_group;
      values[i] = Four(
        load_v4(rows[at], column), load_v4(rows[at + KEY_GROUPS], column),
        load_v4(rows[at + 2u * KEY_GROUPS], column), load_v4(rows[at + 3u * KEY_GROUPS], column));
    }
    var key_scale = params.scale;
    var value_scale = 1.0;
    var next_row = 0u;
    if (li < KEYS) {
      key_scale *= k_scale(rows[li]);
      value_scale = v_scale(rows[li]);
      next_row = cache_row(place.x, min(base + KEYS + li, end - 1u)) + kv_head;
    }

    var own = vec4<f32>(0.0);
    for (var round = 0u; round < ROUNDS; round++) {
      for (var i = 0u; i < ROUND_EACH; i++) {
        let k = keys[round * ROUND_EACH + i];
        scratch[part * PLANE + i * KEY_TEAMS + team] =
          vec4<f32>(dot16(q[0], k), dot16(q[1], k), dot16(q[2], k), dot16(q[3], k));
      }
      workgroupBarrier();
      if (li / ROUND_KEYS == round) {
        for (var p = 0u; p < PARTS; p++) {
          own += scratch[p * PLANE + li % ROUND_KEYS];
        }
      }
      workgroupBarrier();
    }
    let s = select(LOWEST, own * key_scale, base + li < end);
    if (li < KEYS) {
      rows[li] = next_row;
      scores[li] = s;
    }
    workgroupBarrier();
    // Bounds that are not constant keep drivers from unrolling loops over workgroup memory: compiling takes half as long
    // again otherwise.
    if (li < PEAKS) {
      var m = LOWEST;
      for (var k = li; k < min(KEYS, arrayLength(&places) + KEYS); k += PEAKS) {
        m = max(m, scores[k]);
      }
      peaks[li] = m;
    }
    workgroupBarrier();
    let before = maximum;
    for (var i = 0u; i < min(PEAKS, arrayLength(&places) + PEAKS); i++) {
      maximum = max(maximum, peaks[i]);
    }
    let factor = exp(before - maximum);
    if (li < KEYS) {
      // Keys from `end` on have a weight of zero and the row of the last key.
      let weight = exp(s - maximum);
      scores[li] = weight * value_scale;
      sum = sum * factor + weight;
    }
    workgroupBarrier();
    for (var h = 0u; h < 4u; h++) {
      acc[h] *= factor[h];
    }
    for (var i = 0u; i < VALUE_FOURS; i++) {
      let at = i * 4u * KEY_GROUPS + key_group;
      let w0 = scores[at];
      let w1 = scores[at + KEY_GROUPS];
      let w2 = scores[at + 2u * KEY_GROUPS];
      let w3 = scores[at + 3u * KEY_GROUPS];
      let v = values[i];
      for (var h = 0u; h < 4u; h++) {
        acc[h] = acc[h] + w0[h] * v.a + w1[h] * v.b + w2[h] * v.c + w3[h] * v.d;
      }
    }
    workgroupBarrier();
  }

  // The upper half of the key groups hands its accumulators to the lower half, which adds them to its own.
  let slot = key_group % (KEY_GROUPS / 2u) * COLUMNS + column;
  let upper = key_group >= KEY_GROUPS / 2u;
  if (li < KEYS) {
    scores[li] = sum;
  }
  if (upper && li < KEY_LANES) {
    for (var h = 0u; h < 4u; h++) {
      scratch[h * JOIN + slot] = acc[h];
    }
  }
  workgroupBarrier();
  if (!upper) {
    for (var h = 0u; h < 4u; h++) {
      scratch[h * JOIN + slot] += acc[h];
    }
  }
  if (li < PEAKS) {
    var s = vec4<f32>(0.0);
    for (var k = li; k < min(KEYS, arrayLength(&places) + KEYS); k += PEAKS) {
      s += scores[k];
    }
    peaks[li] = s;
  }
  workgroupBarrier();
  var total = vec4<f32>(0.0);
  for (var i = 0u; i < min(PEAKS, arrayLength(&places) + PEAKS); i++) {
    total += peaks[i];
  }
  for (var i = 0u; i < RESULTS; i++) {
    let item = li + i * WG;
    let h = item / COLUMNS;
    if (h < 4u && head0 + h <= last_head) {
      let begin_at = h * JOIN + item % COLUMNS;
      var o = vec4<f32>(0.0);
      for (var at = begin_at; at < begin_at + JOIN; at += COLUMNS) {
        o += scratch[at];
      }
      store_head(
        workgroup_id.y, workgroup_id.x, head0 + h, item % COLUMNS, o, vec2<f32>(maximum[h], total[h]), gates_of[i]);
    }
  }
}

// Every PARTS-th column of a query that starts at vec4 `at`, from column `part` on.
fn query_columns(at: u32, part: u32) -> Four {
  var q = Four(q_rope[at + part], vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0));
  if (part + PARTS < COLUMNS) {
    q.b = q_rope[at + part + PARTS];
  }
  if (part + 2u * PARTS < COLUMNS) {
    q.c = q_rope[at + part + 2u * PARTS];
  }
  if (part + 3u * PARTS < COLUMNS) {
    q.d = q_rope[at + part + 3u * PARTS];
  }
  return q;
}

// The same columns of a key. Where there is none, one that exists: the query is zero there.
fn key_columns(row: u32, part: u32) -> Four {
  let last = COLUMNS - 1u;
  return Four(
    load_k4(row, part), load_k4(row, min(part + PARTS, last)),
    load_k4(row, min(part + 2u * PARTS, last)), load_k4(row, min(part + 3u * PARTS, last)));
}

fn dot16(a: Four, b: Four) -> f32 {
  return (dot(a.a, b.a) + dot(a.b, b.b)) + (dot(a.c, b.c) + dot(a.d, b.d));
}
