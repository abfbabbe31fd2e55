// Attention of one query position over one slice of its context, for steps of so few tokens that latency counts: one, two or
// four query heads of a KV head (a group) per workgroup, so that many workgroups share the work, and K and V of a whole tile
// of KEYS positions under way together, as they are stored, before anything waits.
//
// Workgroup (split, token, group). Per tile:
//   1. scores: PARTS neighbours (a team) share the columns of a key; an invocation keeps its columns of the queries for all
//      tiles, and takes every KEY_TEAMS-th key. Once added up, each member of a team owns some of its scores;
//   2. the maximum over the workgroup, then weights, through workgroup memory;
//   3. values: an invocation has eight columns of every KEY_GROUPS-th key.
// Accumulators and sums of weights are joined after the last tile. Page-table entries are read one tile ahead, those of the
// first tile before it is known whether they are the right ones.
// The order of additions depends on the constants, the position and split_len only.
//
// Workgroup memory is at most 16 KiB with what lib/scores_* have of it: about 8 of scratch (10 with 512 columns), 4 of scores.
// Library files give: Heads, a number for each head of the group, and GROUP (heads_*); Eight, fetch_k, fetch_v and the scales
// of their rows (kv_eight_*); first_seen and rows (positions); gate (gate_*); store_head (attend_*); the entry point, maxima
// and sums (scores_*).
//
// --- specialised ---
const HEADS: u32 = 4u;     // all query heads
const KV_HEADS: u32 = 1u;  // key/value heads, each of HEADS / KV_HEADS query heads
const D: u32 = 16u;        // head_dim; rows are padded to D8
const PAGE: u32 = 64u;     // positions of a page
const WINDOW: u32 = 0u;    // positions that a query sees, which lie in a ring of pages; 0 = all before it
const PARTS: u32 = 1u;     // invocations that share the columns of a key, sixteen each: a power of two
const TILE: u32 = 256u;    // positions of a tile, were there 256 invocations: a power of two, at least 256 / PARTS and 16
const WG: u32 = 256u;      // invocations of a workgroup: 64 or 256

const KEYS: u32 = TILE * WG / 256u;  // positions of a tile
const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;
const EIGHTS: u32 = D8 / 8u;  // at least PARTS
const HEADS_PER_KV: u32 = HEADS / KV_HEADS;
const GROUPS_PER_KV: u32 = (HEADS_PER_KV + GROUP - 1u) / GROUP;
const LOWEST: f32 = -3.0e38;

const ROWS_EACH: u32 = (KEYS + WG - 1u) / WG;            // rows of a tile that an invocation looks up
const KEY_TEAMS: u32 = WG / PARTS;
const KEYS_EACH: u32 = KEYS / KEY_TEAMS;                 // keys of a team
const OWNED: u32 = (KEYS_EACH + PARTS - 1u) / PARTS;     // of those, a member's
const ROUND_EACH: u32 = min(KEYS_EACH, 8u / GROUP);      // keys of a team that go through workgroup memory at a time
const PART_PLANE: u32 = ROUND_EACH * KEY_TEAMS + 1u;     // the parts of a key lie in different memory banks

const KEY_GROUPS: u32 = min(32u, 1u << firstLeadingBit(WG / EIGHTS));  // a power of two, at most 32
const KEY_LANES: u32 = KEY_GROUPS * EIGHTS;
const VALUES_EACH: u32 = KEYS / KEY_GROUPS;
const JOINED: u32 = 8u / GROUP;                          // of its eight columns, those that an invocation joins at a time
const PLANE: u32 = KEY_LANES + EIGHTS;

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,
  max_pages: u32,  // entries per sequence in page_table
  scale: f32,
}

// Eight columns of the group's heads.
alias Columns = array<Heads, 8>;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;  // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> page_table: array<u32>;    // [sequences, max_pages]
@group(0) @binding(3) var<storage, read> q_rope: array<vec4<f32>>;  // [tokens, HEADS, D8]

// In turn: partial scores [PARTS, PART_PLANE], accumulators [JOINED, PLANE].
var<workgroup> scratch: array<Heads, max(PARTS * PART_PLANE, JOINED * PLANE)>;
var<workgroup> scores: array<Heads, max(KEYS, WG)>;  // weights; maxima and sums on their way
var<workgroup> rows: array<u32, KEYS>;

fn run(workgroup_id: vec3<u32>, li: u32, lanes: Lanes) {
  let token = params.token_begin + workgroup_id.y;
  let kv_head = workgroup_id.z / GROUPS_PER_KV;
  let head0 = kv_head * HEADS_PER_KV + workgroup_id.z % GROUPS_PER_KV * GROUP;
  let last_head = (kv_head + 1u) * HEADS_PER_KV - 1u;
  let part = li % PARTS;
  let team = li / PARTS;
  let eight = li % EIGHTS;
  let key_group = min(li / EIGHTS, KEY_GROUPS - 1u);  // invocations beyond the last repeat it and are not counted

  // What does not depend on the place is asked for before it is known. So is the page table of the sequence that a place
  // most often has when there are few tokens; it is asked again if that turns out wrong.
  let first = workgroup_id.x * params.split_len;
  var pages: array<u32, ROWS_EACH>;
  for (var i = 0u; i < ROWS_EACH; i++) {
    pages[i] = page_table[min(page_index(token, first + i * WG + li), arrayLength(&page_table) - 1u)];
  }
  let q_low = query_eight(token, head0, last_head, part);
  let q_high = query_eight(token, head0, last_head, part + PARTS);
  var gates_of: array<f32, GROUP>;
  for (var h = 0u; h < GROUP; h++) {
    gates_of[h] = gate(token, min(head0 + h, last_head));
  }
  let place = places[token];
  let begin = first_seen(place.y) + first;
  let end = min(begin + params.split_len, place.y + 1u);
  if (begin >= end) {
    return;  // mfa_combine knows which splits are empty
  }
  for (var i = 0u; i < ROWS_EACH; i++) {
    let position = min(begin + i * WG + li, end - 1u);
    if (WINDOW > 0u || place.x != token) {
      pages[i] = page_table[page_index(place.x, position)];
    }
    if (i * WG + li < KEYS) {
      rows[i * WG + li] = page_row(pages[i], position) + kv_head;
    }
  }
  workgroupBarrier();

  var maximum = Heads(LOWEST);
  var sum = Heads(0.0);  // of the weights that this invocation owns
  var acc = Columns();
  for (var base = begin; base < end; base += KEYS) {
    let count = min(end - base, KEYS);
    let last = count - 1u;
    // What is past the end is read from the last row, or not at all where all keys of a step are.
    var keys_low: array<Eight, KEYS_EACH>;
    var keys_high: array<Eight, KEYS_EACH>;
    for (var i = 0u; i < KEYS_EACH; i++) {
      if (i * KEY_TEAMS < count) {
        let row = rows[min(i * KEY_TEAMS + team, last)];
        keys_low[i] = fetch_k(row, part);
        keys_high[i] = fetch_k(row, min(part + PARTS, EIGHTS - 1u));  // the query is zero where there is none
      }
    }
    var values: array<Eight, VALUES_EACH>;
    for (var i = 0u; i < VALUES_EACH; i++) {
      if (i * KEY_GROUPS < count) {
        values[i] = fetch_v(rows[min(i * KEY_GROUPS + key_group, last)], eight);
      }
    }
    var key_scales: array<f32, OWNED>;
    var value_scales: array<f32, OWNED>;
    for (var j = 0u; j < OWNED; j++) {
      let row = rows[min((j * PARTS + part) * KEY_TEAMS + team, last)];
      key_scales[j] = params.scale * k_scale(row);
      value_scales[j] = v_scale(row);
    }
    let more = base + KEYS < end;
    if (more) {
      for (var i = 0u; i < ROWS_EACH; i++) {
        pages[i] = page_table[page_index(place.x, min(base + KEYS + i * WG + li, end - 1u))];
      }
    }

    var partial: array<Heads, KEYS_EACH>;
    for (var i = 0u; i < KEYS_EACH; i++) {
      if (i * KEY_TEAMS < count) {
        partial[i] = dot_eight(q_low, keys_low[i]) + dot_eight(q_high, keys_high[i]);
      }
    }
    var own = over_parts(partial, li);
    var peak = Heads(LOWEST);
    for (var j = 0u; j < OWNED; j++) {
      // There is no key of KEYS or more.
      let key = (j * PARTS + part) * KEY_TEAMS + team;
      own[j] = select(Heads(LOWEST), own[j] * key_scales[j], key < count);
      peak = max(peak, own[j]);
    }
    put_max(peak, li, lanes);
    workgroupBarrier();
    let before = maximum;
    maximum = max(maximum, get_max(li, lanes));
    let factor = exp(before - maximum);
    sum *= factor;
    for (var j = 0u; j < OWNED; j++) {
      // Keys from `end` on have a weight of zero.
      let key = (j * PARTS + part) * KEY_TEAMS + team;
      let weight = exp(own[j] - maximum);
      if (key < KEYS) {
        scores[key] = weight * value_scales[j];
      }
      sum += weight;
    }
    if (more) {
      for (var i = 0u; i < ROWS_EACH; i++) {
        if (i * WG + li < KEYS) {
          rows[i * WG + li] = page_row(pages[i], base + KEYS + i * WG + li) + kv_head;
        }
      }
    }
    workgroupBarrier();
    for (var c = 0u; c < 8u; c++) {
      acc[c] *= factor;
    }
    for (var i = 0u; i < VALUES_EACH; i++) {
      if (i * KEY_GROUPS < count) {
        acc = add_eight(acc, scores[i * KEY_GROUPS + key_group], values[i]);
      }
    }
  }

  put_sum(sum, li, lanes);
  var total = Heads(0.0);
  for (var column = 0u; column < 8u; column += JOINED) {
    if (column > 0u) {
      workgroupBarrier();
    }
    if (li < KEY_LANES) {
      for (var c = 0u; c < JOINED; c++) {
        scratch[c * PLANE + li] = acc[c];
      }
    }
    workgroupBarrier();
    if (column == 0u) {
      total = get_sum(li, lanes);
    }
    for (var item = li; item < JOINED * EIGHTS; item += WG) {
      var o = Heads(0.0);
      for (var i = 0u; i < KEY_GROUPS / 4u; i++) {
        let at = item / EIGHTS * PLANE + i * 4u * EIGHTS + item % EIGHTS;
        o += (scratch[at] + scratch[at + EIGHTS]) + (scratch[at + 2u * EIGHTS] + scratch[at + 3u * EIGHTS]);
      }
      for (var i = KEY_GROUPS / 4u * 4u; i < KEY_GROUPS; i++) {
        o += scratch[item / EIGHTS * PLANE + i * EIGHTS + item % EIGHTS];
      }
      for (var h = 0u; h < GROUP; h++) {
        if (head0 + h <= last_head) {
          store_head(
            workgroup_id.y, workgroup_id.x, head0 + h, item % EIGHTS * 8u + column + item / EIGHTS, head_of(o, h),
            vec2<f32>(head_of(maximum, h), head_of(total, h)), gates_of[h]);
        }
      }
    }
    // The next ones come first: an array indexed by what is no constant would lie in slow memory.
    for (var c = 0u; c < 8u - JOINED; c++) {
      acc[c] = acc[c + JOINED];
    }
  }
}

// Eight columns of the group's queries: zero beyond the last. Where there is no head, the last one again.
fn query_eight(token: u32, head0: u32, last_head: u32, eight: u32) -> Columns {
  var low: array<vec4<f32>, GROUP>;
  var high: array<vec4<f32>, GROUP>;
  if (eight < EIGHTS) {
    for (var h = 0u; h < GROUP; h++) {
      let at = (token * HEADS + min(head0 + h, last_head)) * COLUMNS + eight * 2u;
      low[h] = q_rope[at];
      high[h] = q_rope[at + 1u];
    }
  }
  let a = columns_of(low);
  let b = columns_of(high);
  return Columns(a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]);
}

fn dot_eight(q: Columns, k: Eight) -> Heads {
  let a = low_four(k);
  let b = high_four(k);
  return ((q[0] * a.x + q[1] * a.y) + (q[2] * a.z + q[3] * a.w)) + ((q[4] * b.x + q[5] * b.y) + (q[6] * b.z + q[7] * b.w));
}

fn add_eight(acc: Columns, weight: Heads, v: Eight) -> Columns {
  let a = low_four(v);
  let b = high_four(v);
  return Columns(
    acc[0] + weight * a.x, acc[1] + weight * a.y, acc[2] + weight * a.z, acc[3] + weight * a.w,
    acc[4] + weight * b.x, acc[5] + weight * b.y, acc[6] + weight * b.z, acc[7] + weight * b.w);
}

// Adds up what the members of a team have of each key, through workgroup memory; member p keeps the sums of keys p,
// p + PARTS, ...
fn parts_in_memory(partial: array<Heads, KEYS_EACH>, li: u32) -> array<Heads, OWNED> {
  let part = li % PARTS;
  let team = li / PARTS;
  var left = partial;
  var own: array<Heads, OWNED>;
  for (var round = 0u; round < KEYS_EACH; round += ROUND_EACH) {
    if (round > 0u) {
      workgroupBarrier();
    }
    for (var i = 0u; i < ROUND_EACH; i++) {
      scratch[part * PART_PLANE + i * KEY_TEAMS + team] = left[i];
    }
    workgroupBarrier();
    for (var j = 0u; j < OWNED; j++) {
      let i = j * PARTS + part;
      if (i >= round && i < round + ROUND_EACH) {
        for (var p = 0u; p < PARTS; p++) {
          own[j] += scratch[p * PART_PLANE + (i - round) * KEY_TEAMS + team];
        }
      }
    }
    for (var i = 0u; i < KEYS_EACH - ROUND_EACH; i++) {
      left[i] = left[i + ROUND_EACH];
    }
  }
  return own;
}
