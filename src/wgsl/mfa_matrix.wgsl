// Attention of one query position over one slice of its context, like mfa_decode, on matrix units: heads of 256 elements
// of one KV head. Library files give keys, values and the order that they are staged in (kv_half_*), slice_length (slices).
//
// Workgroup (split, token, head group): up to 64 query heads against a slice of the positions up to the token's own, 32 keys
// at a time; split_len is a multiple of 32, so a tile of keys lies within one page. Eight subgroups: four
// tiles of 16 heads, by two sides (16 of the keys) for the scores; two pairs of tiles, by four quarters of the columns, for
// the values.
//   1. the next keys and values are fetched while the present ones, staged as binary16, are worked on;
//   2. scores Q Kᵀ (f32), in units of powers of two;
//   3. softmax: four invocations per head; weights are relative to a reference that only moves when a score exceeds it by
//      2^8, because moving it means taking the sums of all columns through workgroup memory;
//   4. P V adds to the sums, which stay in registers.
// Binary16 is staged eight elements at a time, as words: matrices are loaded from arrays of any numeric type, in whose
// elements offset and stride count.
// Results are unnormalised, with the maximum and the sum beside them; mfa_combine joins the splits.
//
// Matrices are named one by one, because drivers keep arrays of them in slow memory, and indices are written so that the
// compiler sees their bounds: see matmul_matrix.wgsl.
//
// --- specialised ---
const HEADS: u32 = 64u;  // all query heads
const PAGE: u32 = 64u;   // positions of a page, a multiple of 32
const SIZE: u32 = 32u;   // invocations of a subgroup

const D: u32 = 256u;     // head_dim
const D8: u32 = D;
const KV_HEADS: u32 = 1u;
const KEYS: u32 = 32u;
const WG: u32 = SIZE * 8u;
const STEPS: u32 = D / 8u;            // loads of a row
const LOADS: u32 = KEYS * STEPS / WG;
const LD: u32 = STEPS + 1u;           // staged rows, in blocks of eight elements, lie apart so that banks differ
const VALUES: u32 = KEYS * LD;        // where the staged values begin
const LD_S: u32 = KEYS / 4u + 1u;     // rows of scores, in blocks of four
const LD_P: u32 = KEYS / 8u + 1u;     // rows of weights, in blocks of eight
const LOG2_E: f32 = 1.4426950408889634;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

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
@group(0) @binding(3) var<storage, read> q_rope: array<vec4<f32>>;         // [tokens, HEADS, D]
@group(0) @binding(7) var<storage, read_write> part_o: array<vec4<f32>>;   // [tokens, splits, HEADS, D]
@group(0) @binding(8) var<storage, read_write> part_ml: array<vec2<f32>>;  // [tokens, splits, HEADS] of (max, sum)

// Sizes are multiples of 16 bytes, atomics included: matrices are loaded from addresses that drivers take to be aligned.
var<workgroup> kv: array<vec4<u32>, 2u * VALUES>;  // keys, then values, as binary16; at the end sums
var<workgroup> s: array<vec4<f32>, 64u * LD_S>;    // scores; sometimes one product of each subgroup
var<workgroup> p: array<vec4<u32>, 64u * LD_P>;    // softmax weights as binary16
var<workgroup> factor: array<f32, 64>;      // what a head's sums are multiplied by when its reference moves
var<workgroup> moved: array<atomic<u32>, 4>;  // the first: whether any head's reference moves

@compute @workgroup_size(WG) @diagnostic(off, chromium.subgroup_matrix_uniformity) @diagnostic(off, subgroup_uniformity)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) li: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let token = params.token_begin + workgroup_id.y;
  let place = places[token];
  let length = slice_length(place.y + 1u);
  let begin = workgroup_id.x * length;
  let end = min(begin + length, place.y + 1u);
  if (begin >= end) {
    return;  // mfa_combine knows which splits are empty
  }
  let head0 = workgroup_id.z * 64u;
  let sg = subgroup % 8u;
  let ht = sg % 4u;
  let side = sg / 4u;
  let pair = sg % 2u;     // of tiles of heads, whose sums the subgroup makes
  let quarter = sg / 2u;  // of the columns of these
  let lane = li % SIZE;
  let table = place.x * params.max_pages;

  var k_next: array<Fetched, LOADS>;
  var v_next: array<Fetched, LOADS>;
  // The first keys and values are on their way while the queries are prepared.
  var page = page_table[table + begin / PAGE];
  for (var j = 0u; j < LOADS; j++) {
    let row = page * PAGE + min(begin + (li + j * WG) / STEPS, end - 1u) % PAGE;
    k_next[j] = fetch_k(row, li % STEPS);
    v_next[j] = fetch_v(row, li % STEPS);
  }
  page = page_table[table + min(begin + KEYS, end - 1u) / PAGE];

  // Queries pass through the staging area, 32 heads at a time, scaled so that 2^score is what softmax needs.
  var q0: Left;
  var q1: Left;
  var q2: Left;
  var q3: Left;
  var q4: Left;
  var q5: Left;
  var q6: Left;
  var q7: Left;
  var q8: Left;
  var q9: Left;
  var q10: Left;
  var q11: Left;
  var q12: Left;
  var q13: Left;
  var q14: Left;
  var q15: Left;
  for (var round = 0u; round < 2u; round++) {
    for (var j = 0u; j < LOADS; j++) {
      let row = (li + j * WG) / STEPS;
      let source = (token * HEADS + min(head0 + round * 32u + row, HEADS - 1u)) * (D / 4u) + li % STEPS * 2u;
      let lo = q_rope[source] * (params.scale * LOG2_E);
      let hi = q_rope[source + 1u] * (params.scale * LOG2_E);
      kv[row * LD + li % STEPS] = staged_halves(lo, hi);
    }
    workgroupBarrier();
    if (ht / 2u == round) {
      q0 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 0u, LD);
      q1 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 2u, LD);
      q2 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 4u, LD);
      q3 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 6u, LD);
      q4 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 8u, LD);
      q5 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 10u, LD);
      q6 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 12u, LD);
      q7 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 14u, LD);
      q8 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 16u, LD);
      q9 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 18u, LD);
      q10 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 20u, LD);
      q11 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 22u, LD);
      q12 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 24u, LD);
      q13 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 26u, LD);
      q14 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 28u, LD);
      q15 = subgroupMatrixLoad<Left, row_major>(&kv, ht % 2u * 16u * LD + 30u, LD);
    }
    workgroupBarrier();
  }

  var c0: Sums;
  var c1: Sums;
  var c2: Sums;
  var c3: Sums;
  var c4: Sums;
  var c5: Sums;
  var c6: Sums;
  var c7: Sums;
  let head = li / 4u;
  let key0 = li % 4u * 8u;
  var peak = -3.0e38;       // largest score so far
  var reference = -3.0e38;  // weights are 2^(score - reference)
  var total = 0.0;          // of this invocation's keys
  for (var base = begin; base < end; base += KEYS) {
    for (var j = 0u; j < LOADS; j++) {
      let key = (li + j * WG) / STEPS;
      let at = key * LD + li % STEPS;
      kv[at] = halves(k_next[j]);
      // A weight of zero does not silence what lies beyond the end, which may be anything.
      kv[VALUES + at] = select(vec4<u32>(0u), halves(v_next[j]), base + key < end);
    }
    if (li == 0u) {
      atomicStore(&moved[0], 0u);
    }
    workgroupBarrier();

    if (base + KEYS < end) {
      for (var j = 0u; j < LOADS; j++) {
        let row = page * PAGE + min(base + KEYS + (li + j * WG) / STEPS, end - 1u) % PAGE;
        k_next[j] = fetch_k(row, li % STEPS);
        v_next[j] = fetch_v(row, li % STEPS);
      }
      page = page_table[table + min(base + 2u * KEYS, end - 1u) / PAGE];
    }

    var score = Sums();  // written out: a declaration alone does not clear it in every round
    score = subgroupMatrixMultiplyAccumulate(
      q0, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 0u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q1, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 2u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q2, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 4u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q3, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 6u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q4, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 8u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q5, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 10u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q6, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 12u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q7, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 14u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q8, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 16u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q9, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 18u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q10, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 20u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q11, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 22u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q12, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 24u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q13, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 26u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q14, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 28u, LD), score);
    score = subgroupMatrixMultiplyAccumulate(
      q15, subgroupMatrixLoad<Right, col_major>(&kv, side * 16u * LD + 30u, LD), score);
    subgroupMatrixStore<row_major>(&s, ht * 16u * LD_S + side * 4u, score, LD_S);
    workgroupBarrier();

    let at = head * LD_S + li % 4u * 2u;
    let left = vec4<i32>(i32(end - base - key0)) - vec4<i32>(0, 1, 2, 3);  // keys from here on, above 0 where there is one
    let lo = select(vec4<f32>(-3.0e38), s[at], left > vec4<i32>(0));
    let hi = select(vec4<f32>(-3.0e38), s[at + 1u], left > vec4<i32>(4));
    let most = max(lo, hi);
    var m = max(max(most.x, most.y), max(most.z, most.w));
    m = max(m, subgroupShuffleXor(m, 1u));
    m = max(m, subgroupShuffleXor(m, 2u));
    peak = max(peak, m);
    var f = 1.0;
    if (m > reference + 8.0) {
      f = exp2(reference - m);
      reference = m;
      atomicStore(&moved[0], 1u);
    }
    total *= f;
    let w_lo = exp2(lo - reference);
    let w_hi = exp2(hi - reference);
    total += dot(w_lo + w_hi, vec4<f32>(1.0));
    p[head * LD_P + li % 4u] = vec4<u32>(
      pack2x16float(w_lo.xy), pack2x16float(w_lo.zw), pack2x16float(w_hi.xy), pack2x16float(w_hi.zw));
    if (li % 4u == 0u) {
      factor[head] = f;
    }
    if (workgroupUniformLoad(&moved[0]) != 0u && base > begin) {
      subgroupMatrixStore<row_major>(&s, sg * 64u, c0, 4u);
      rescale(sg, pair * 2u, lane);
      c0 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
      subgroupMatrixStore<row_major>(&s, sg * 64u, c1, 4u);
      rescale(sg, pair * 2u, lane);
      c1 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
      subgroupMatrixStore<row_major>(&s, sg * 64u, c2, 4u);
      rescale(sg, pair * 2u, lane);
      c2 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
      subgroupMatrixStore<row_major>(&s, sg * 64u, c3, 4u);
      rescale(sg, pair * 2u, lane);
      c3 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
      subgroupMatrixStore<row_major>(&s, sg * 64u, c4, 4u);
      rescale(sg, pair * 2u + 1u, lane);
      c4 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
      subgroupMatrixStore<row_major>(&s, sg * 64u, c5, 4u);
      rescale(sg, pair * 2u + 1u, lane);
      c5 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
      subgroupMatrixStore<row_major>(&s, sg * 64u, c6, 4u);
      rescale(sg, pair * 2u + 1u, lane);
      c6 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
      subgroupMatrixStore<row_major>(&s, sg * 64u, c7, 4u);
      rescale(sg, pair * 2u + 1u, lane);
      c7 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
    }
    for (var part = 0u; part < KEYS / 16u; part++) {
      let a0 = subgroupMatrixLoad<Left, row_major>(&p, pair * 32u * LD_P + part * 2u, LD_P);
      let a1 = subgroupMatrixLoad<Left, row_major>(&p, (pair * 32u + 16u) * LD_P + part * 2u, LD_P);
      let b0 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + part * 16u * LD + quarter * 8u + 0u, LD);
      c0 = subgroupMatrixMultiplyAccumulate(a0, b0, c0);
      c4 = subgroupMatrixMultiplyAccumulate(a1, b0, c4);
      let b1 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + part * 16u * LD + quarter * 8u + 2u, LD);
      c1 = subgroupMatrixMultiplyAccumulate(a0, b1, c1);
      c5 = subgroupMatrixMultiplyAccumulate(a1, b1, c5);
      let b2 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + part * 16u * LD + quarter * 8u + 4u, LD);
      c2 = subgroupMatrixMultiplyAccumulate(a0, b2, c2);
      c6 = subgroupMatrixMultiplyAccumulate(a1, b2, c6);
      let b3 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + part * 16u * LD + quarter * 8u + 6u, LD);
      c3 = subgroupMatrixMultiplyAccumulate(a0, b3, c3);
      c7 = subgroupMatrixMultiplyAccumulate(a1, b3, c7);
    }
    workgroupBarrier();
  }

  // Relative to the true maximum at last.
  let f = exp2(reference - peak);
  total += subgroupShuffleXor(total, 1u);
  total += subgroupShuffleXor(total, 2u);
  let out = (workgroup_id.y * params.splits + workgroup_id.x) * HEADS + head0;
  if (li % 4u == 0u) {
    factor[head] = f;
    if (head0 + head < HEADS) {
      part_ml[out + head] = vec2<f32>(peak / LOG2_E, total * f);
    }
  }
  subgroupMatrixStore<row_major>(&kv, sg * 256u, c0, 16u);
  subgroupMatrixStore<row_major>(&kv, sg * 256u + 4u, c1, 16u);
  subgroupMatrixStore<row_major>(&kv, sg * 256u + 8u, c2, 16u);
  subgroupMatrixStore<row_major>(&kv, sg * 256u + 12u, c3, 16u);
  store(out, head0, sg, pair * 2u, quarter * 64u, lane);
  subgroupMatrixStore<row_major>(&kv, sg * 256u, c4, 16u);
  subgroupMatrixStore<row_major>(&kv, sg * 256u + 4u, c5, 16u);
  subgroupMatrixStore<row_major>(&kv, sg * 256u + 8u, c6, 16u);
  subgroupMatrixStore<row_major>(&kv, sg * 256u + 12u, c7, 16u);
  store(out, head0, sg, pair * 2u + 1u, quarter * 64u, lane);
}

// Multiplies the product that the subgroup left in `s` by its heads' factors. All subgroups come here together.
fn rescale(sg: u32, ht: u32, lane: u32) {
  workgroupBarrier();
  for (var i = lane; i < 64u; i += SIZE) {
    s[sg * 64u + i] *= factor[ht * 16u + i / 4u];
  }
  workgroupBarrier();
}

// Writes four products that the subgroup left in `kv`: 16 heads, columns column .. column + 63.
fn store(out: u32, head0: u32, sg: u32, ht: u32, column: u32, lane: u32) {
  workgroupBarrier();
  for (var unit = lane; unit < 256u; unit += SIZE) {
    let head = ht * 16u + unit / 16u;
    if (head0 + head < HEADS) {
      part_o[((out + head) * D + column) / 4u + unit % 16u] =
        in_order(bitcast<vec4<f32>>(kv[sg * 256u + unit])) * factor[head];
    }
  }
  workgroupBarrier();
}
