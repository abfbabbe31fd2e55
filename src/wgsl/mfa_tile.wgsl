// Attention of one query position over one slice of its context, for steps of few tokens, on matrix units: 16 query heads of a
// KV head per workgroup, and all keys and values of the slice on their way together, before anything waits.
//
// Workgroup (split, token, group of heads), eight subgroups:
//   1. queries are staged as binary16, keys and values asked for, and keys staged 64 positions (a tile) at a time;
//   2. scores Q Kᵀ of a tile (f32, in units of powers of two): a subgroup for 16 keys; invocations take them into registers,
//      sixteen for a head;
//   3. softmax over the whole slice, whose weights are staged as binary16;
//   4. P V, values staged a tile at a time: a subgroup for 16 columns, or twice 16.
// Page-table entries are read before it is known whether they are the right ones, as in mfa_quad.
//
// Library files give keys, values and the order that they are staged in (kv_half_*, cache_*); first_seen and rows (positions);
// gate (gate_*); store_four (fours_*); queries, and the key and value of the token itself where these are not in the cache yet
// (tile_ready, tile_fresh).
//
// --- specialised ---
const HEADS: u32 = 64u;    // all query heads
const KV_HEADS: u32 = 1u;  // key/value heads, each of HEADS / KV_HEADS query heads
const D: u32 = 256u;       // head_dim: 64, 128 or 256
const PAGE: u32 = 64u;     // positions of a page
const WINDOW: u32 = 0u;    // positions that a query sees, which lie in a ring of pages; 0 = all before it
const TILES: u32 = 2u;     // of 64 positions, in a slice

const SIZE: u32 = 32u;  // invocations of a subgroup
const D8: u32 = D;
const GROUP: u32 = 16u;
const HEADS_PER_KV: u32 = HEADS / KV_HEADS;
const GROUPS_PER_KV: u32 = (HEADS_PER_KV + GROUP - 1u) / GROUP;
const WG: u32 = SIZE * 8u;
const TILE: u32 = 64u;
const KEYS: u32 = TILE * TILES;
const STEPS: u32 = D / 8u;                       // loads of a row
const LOADS: u32 = TILE * STEPS / WG;            // of a tile, in an invocation
const ABREAST: u32 = WG / STEPS;                 // rows that are loaded at a time
const QUERIES: u32 = (GROUP * STEPS + WG - 1u) / WG;
const ROWS_EACH: u32 = (KEYS + WG - 1u) / WG;    // rows that an invocation looks up
const SHARE: u32 = WG / GROUP;                   // invocations of a head
const LD: u32 = STEPS + 1u;                      // staged rows, in blocks of eight elements, lie apart so that banks differ
const LD_S: u32 = TILE / 4u + 1u;                // rows of scores, in blocks of four
const LD_Q: u32 = D / 4u + 2u;                   // rows of queries and of weights, in blocks of four
const LD_P: u32 = KEYS / 4u + 2u;
const LD_O: u32 = D / 4u + 1u;                   // rows of results, in blocks of four
const BLOCKS: u32 = D / 16u;                     // of columns
const LOWEST: f32 = -3.0e38;
const LOG2_E: f32 = 1.4426950408889634;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,  // at most KEYS
  max_pages: u32,  // entries per sequence in page_table
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;  // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> page_table: array<u32>;    // [sequences, max_pages]

// Eight elements of a head.
struct Pair {
  low: vec4<f32>,
  high: vec4<f32>,
}

// Eight elements of the key and of the value of the token itself, as if fetched from the cache.
struct Own {
  k: Fetched,
  v: Fetched,
}

// Sizes are multiples of 16 bytes: matrices are loaded from addresses that drivers take to be aligned.
var<workgroup> kv: array<vec4<u32>, TILE * LD>;                     // keys, then values of a tile; at the end results, as f32
var<workgroup> s: array<vec4<f32>, GROUP * LD_S>;                   // scores of a tile
var<workgroup> qp: array<vec2<u32>, GROUP * max(LD_Q, LD_P)>;       // queries, then weights
var<workgroup> rows: array<u32, KEYS>;
var<workgroup> statistics: array<vec4<f32>, GROUP>;                 // (maximum, sum, gate) of each head

@compute @workgroup_size(WG) @diagnostic(off, chromium.subgroup_matrix_uniformity) @diagnostic(off, subgroup_uniformity)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) li: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let token = params.token_begin + workgroup_id.y;
  let kv_head = workgroup_id.z / GROUPS_PER_KV;
  let head0 = kv_head * HEADS_PER_KV + workgroup_id.z % GROUPS_PER_KV * GROUP;
  let last_head = (kv_head + 1u) * HEADS_PER_KV - 1u;
  let sg = subgroup % 8u;
  let head = li / SHARE;
  let lane = li % SHARE;
  let step = li % STEPS;

  // What does not depend on the place is asked for before it is known.
  let first = workgroup_id.x * params.split_len;
  var pages: array<u32, ROWS_EACH>;
  for (var i = 0u; i < ROWS_EACH; i++) {
    pages[i] = page_table[min(page_index(token, first + i * WG + li), arrayLength(&page_table) - 1u)];
  }
  var queries: array<Pair, QUERIES>;
  for (var i = 0u; i < QUERIES; i++) {
    queries[i] = ask_query(token, min(head0 + min((li + i * WG) / STEPS, GROUP - 1u), last_head), step);
  }
  let asked = ask(token, kv_head, step);
  let gated = gate(token, min(head0 + head, last_head));
  let place = places[token];
  let begin = first_seen(place.y) + first;
  let end = min(begin + params.split_len, place.y + 1u);
  if (begin >= end) {
    return;  // mfa_combine knows which splits are empty
  }
  let count = end - begin;
  for (var i = 0u; i < ROWS_EACH; i++) {
    let position = min(begin + i * WG + li, end - 1u);
    if (WINDOW > 0u || place.x != token) {
      pages[i] = page_table[page_index(place.x, position)];
    }
    if (i * WG + li < KEYS) {
      rows[i * WG + li] = page_row(pages[i], position) + kv_head;
    }
  }
  // What makes fresh heads ready would take registers of keys and values.
  if (FRESH) {
    stage_queries(queries, asked, li);
  }
  let own = take(asked);
  let own_at = place.y - begin;  // where it stands, if in this slice
  workgroupBarrier();
  if (FRESH && own_at < count && workgroup_id.z % GROUPS_PER_KV == 0u && li < STEPS) {
    keep(rows[own_at], step, own);
  }
  let own_k = halves(own.k);
  let own_v = halves(own.v);

  // Past the end the last row is read, whose weights are zero there.
  var keys: array<Fetched, LOADS * TILES>;
  var values: array<Fetched, LOADS * TILES>;
  for (var i = 0u; i < LOADS * TILES; i++) {
    keys[i] = fetch_k(rows[min(i * ABREAST + li / STEPS, count - 1u)], step);
  }
  for (var i = 0u; i < LOADS * TILES; i++) {
    values[i] = fetch_v(rows[min(i * ABREAST + li / STEPS, count - 1u)], step);
  }

  if (!FRESH) {
    stage_queries(queries, asked, li);
  }
  // The next ones of keys, scores and values come first: arrays indexed by what is no constant would lie in slow memory.
  var scores: array<vec4<f32>, TILES>;
  for (var tile = 0u; tile < TILES; tile++) {
    for (var i = 0u; i < LOADS; i++) {
      let at = i * ABREAST + li / STEPS;
      kv[at * LD + step] = halves(keys[i]);
      if (FRESH && tile * TILE + at >= own_at) {
        kv[at * LD + step] = own_k;
      }
    }
    for (var i = 0u; i < LOADS * (TILES - 1u); i++) {
      keys[i] = keys[i + LOADS];
    }
    workgroupBarrier();
    if (sg < TILE / 16u) {
      var score = Sums();
      // Four at a time, so that no product waits for its own loads.
      for (var block = 0u; block < BLOCKS; block += 4u) {
        let a0 = subgroupMatrixLoad<Left, row_major>(&qp, block * 4u, LD_Q);
        let b0 = subgroupMatrixLoad<Right, col_major>(&kv, sg * 16u * LD + block * 2u, LD);
        let a1 = subgroupMatrixLoad<Left, row_major>(&qp, block * 4u + 4u, LD_Q);
        let b1 = subgroupMatrixLoad<Right, col_major>(&kv, sg * 16u * LD + block * 2u + 2u, LD);
        let a2 = subgroupMatrixLoad<Left, row_major>(&qp, block * 4u + 8u, LD_Q);
        let b2 = subgroupMatrixLoad<Right, col_major>(&kv, sg * 16u * LD + block * 2u + 4u, LD);
        let a3 = subgroupMatrixLoad<Left, row_major>(&qp, block * 4u + 12u, LD_Q);
        let b3 = subgroupMatrixLoad<Right, col_major>(&kv, sg * 16u * LD + block * 2u + 6u, LD);
        score = subgroupMatrixMultiplyAccumulate(a0, b0, score);
        score = subgroupMatrixMultiplyAccumulate(a1, b1, score);
        score = subgroupMatrixMultiplyAccumulate(a2, b2, score);
        score = subgroupMatrixMultiplyAccumulate(a3, b3, score);
      }
      subgroupMatrixStore<row_major>(&s, sg * 4u, score, LD_S);
    }
    workgroupBarrier();
    let left = vec4<i32>(i32(count) - i32(tile * TILE + lane * 4u)) - vec4<i32>(0, 1, 2, 3);  // above 0 where there is a key
    for (var i = 0u; i < TILES - 1u; i++) {
      scores[i] = scores[i + 1u];
    }
    scores[TILES - 1u] = select(vec4<f32>(LOWEST), s[head * LD_S + lane], left > vec4<i32>(0));
  }

  var four = vec4<f32>(LOWEST);
  for (var tile = 0u; tile < TILES; tile++) {
    four = max(four, scores[tile]);
  }
  let maximum = over_share_max(max(max(four.x, four.y), max(four.z, four.w)));
  four = vec4<f32>(0.0);
  for (var tile = 0u; tile < TILES; tile++) {
    let weights = exp2(scores[tile] - maximum);
    four += weights;
    qp[head * LD_P + tile * (TILE / 4u) + lane] = vec2<u32>(pack2x16float(weights.xy), pack2x16float(weights.zw));
  }
  let total = over_share_sum(dot(four, vec4<f32>(1.0)));
  if (lane == 0u) {
    statistics[head] = vec4<f32>(maximum / LOG2_E, total, gated, 0.0);
  }

  var c0 = Sums();
  var c1 = Sums();
  for (var tile = 0u; tile < TILES; tile++) {
    if (tile > 0u) {
      workgroupBarrier();
    }
    for (var i = 0u; i < LOADS; i++) {
      let at = i * ABREAST + li / STEPS;
      kv[at * LD + step] = halves(values[i]);
      if (FRESH && tile * TILE + at >= own_at) {
        kv[at * LD + step] = own_v;
      }
    }
    for (var i = 0u; i < LOADS * (TILES - 1u); i++) {
      values[i] = values[i + LOADS];
    }
    workgroupBarrier();
    if (sg < BLOCKS) {
      let p0 = subgroupMatrixLoad<Left, row_major>(&qp, tile * (TILE / 4u) + 0u, LD_P);
      let p1 = subgroupMatrixLoad<Left, row_major>(&qp, tile * (TILE / 4u) + 4u, LD_P);
      let p2 = subgroupMatrixLoad<Left, row_major>(&qp, tile * (TILE / 4u) + 8u, LD_P);
      let p3 = subgroupMatrixLoad<Left, row_major>(&qp, tile * (TILE / 4u) + 12u, LD_P);
      let v0 = subgroupMatrixLoad<Right, row_major>(&kv, sg * 2u, LD);
      let v1 = subgroupMatrixLoad<Right, row_major>(&kv, 16u * LD + sg * 2u, LD);
      let v2 = subgroupMatrixLoad<Right, row_major>(&kv, 32u * LD + sg * 2u, LD);
      let v3 = subgroupMatrixLoad<Right, row_major>(&kv, 48u * LD + sg * 2u, LD);
      c0 = subgroupMatrixMultiplyAccumulate(p0, v0, c0);
      c0 = subgroupMatrixMultiplyAccumulate(p1, v1, c0);
      c0 = subgroupMatrixMultiplyAccumulate(p2, v2, c0);
      c0 = subgroupMatrixMultiplyAccumulate(p3, v3, c0);
      if (BLOCKS > 8u) {
        let w0 = subgroupMatrixLoad<Right, row_major>(&kv, sg * 2u + 16u, LD);
        let w1 = subgroupMatrixLoad<Right, row_major>(&kv, 16u * LD + sg * 2u + 16u, LD);
        let w2 = subgroupMatrixLoad<Right, row_major>(&kv, 32u * LD + sg * 2u + 16u, LD);
        let w3 = subgroupMatrixLoad<Right, row_major>(&kv, 48u * LD + sg * 2u + 16u, LD);
        c1 = subgroupMatrixMultiplyAccumulate(p0, w0, c1);
        c1 = subgroupMatrixMultiplyAccumulate(p1, w1, c1);
        c1 = subgroupMatrixMultiplyAccumulate(p2, w2, c1);
        c1 = subgroupMatrixMultiplyAccumulate(p3, w3, c1);
      }
    }
  }
  workgroupBarrier();
  if (sg < BLOCKS) {
    subgroupMatrixStore<row_major>(&kv, sg * 4u, c0, LD_O);
  }
  if (BLOCKS > 8u) {
    subgroupMatrixStore<row_major>(&kv, sg * 4u + 32u, c1, LD_O);
  }
  workgroupBarrier();
  for (var i = 0u; i < GROUP * D / 4u / WG; i++) {
    let row = (li + i * WG) / (D / 4u);
    let column = (li + i * WG) % (D / 4u);
    if (head0 + row <= last_head) {
      let of_head = statistics[row];
      let o = in_order(bitcast<vec4<f32>>(kv[row * LD_O + column]));
      store_four(workgroup_id.y, workgroup_id.x, head0 + row, column, o, of_head.xy, of_head.z);
    }
  }
}

// Scaled so that 2^score is what softmax needs.
fn stage_queries(queries: array<Pair, QUERIES>, asked: Asked, li: u32) {
  let step = li % STEPS;
  for (var i = 0u; i < QUERIES; i++) {
    let row = (li + i * WG) / STEPS;
    let q = query_of(queries[i], asked);
    if (row < GROUP) {
      let staged = staged_halves(q.low * (params.scale * LOG2_E), q.high * (params.scale * LOG2_E));
      qp[row * LD_Q + step * 2u] = staged.xy;
      qp[row * LD_Q + step * 2u + 1u] = staged.zw;
    }
  }
}

// Over the invocations of a head, which are neighbours in a subgroup.
fn over_share_max(own: f32) -> f32 {
  var most = own;
  for (var mask = 1u; mask < SHARE; mask *= 2u) {
    most = max(most, subgroupShuffleXor(most, mask));
  }
  return most;
}

fn over_share_sum(own: f32) -> f32 {
  var sum = own;
  for (var mask = 1u; mask < SHARE; mask *= 2u) {
    sum += subgroupShuffleXor(sum, mask);
  }
  return sum;
}
