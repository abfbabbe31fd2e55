// Attention of neighbouring tokens of a prompt on matrix units: query heads of 64, 128 or 256 elements, several to a KV head,
// over a cache of 16 or 8 bits.
//
// Workgroup (slice, group of tokens, KV head): ROWS rows, each a query head of one of TOKENS tokens, so that all of them read
// the keys and values of their KV head once, 32 positions at a time. Tokens of a group that do not follow each other in one
// sequence take their turns (runs), with keys and values of their own; rows of other runs have no weights there. Each row sees
// positions of its own: up to its token's, within its window, within its slice. Eight subgroups:
//   1. the next keys and values are fetched while the present ones, staged as binary16, are worked on;
//   2. scores Q Kᵀ (f32), in units of powers of two: a quarter of the rows by 16 of the keys for a subgroup;
//   3. softmax: EACH invocations per row; weights are relative to a reference that only moves when a score exceeds it by
//      2^8, because moving it means taking the sums of all columns through workgroup memory;
//   4. P V adds to the sums, which stay in registers: 32 rows by WIDE times 16 columns for a subgroup.
// Binary16 is staged eight elements at a time, as words: matrices are loaded from arrays of any numeric type, in whose
// elements offset and stride count.
//
// Library files give Queries with load_queries and put_scores (prefill_queries); keys, values and the order that they are
// staged in (kv_half_*); first_seen, page_index and page_row (positions); slice_length (slices); gate (gate_*); store_four
// (fours_*).
//
// Matrices are named one by one, because drivers keep arrays of them in slow memory, and indices are written so that the
// compiler sees their bounds: see matmul_matrix.wgsl.
//
// --- specialised ---
const HEADS: u32 = 64u;    // all query heads
const KV_HEADS: u32 = 8u;  // key/value heads, each of HEADS / KV_HEADS query heads
const D: u32 = 128u;       // head_dim: 64, 128 or 256
const ROWS: u32 = 64u;     // 64, or 128 with head_dims up to 128
const PAGE: u32 = 64u;     // positions of a page, a multiple of 32
const WINDOW: u32 = 0u;    // positions that a query sees, which lie in a ring of pages; 0 = all before it

const SIZE: u32 = 32u;  // invocations of a subgroup
const D8: u32 = D;
const PER_KV: u32 = HEADS / KV_HEADS;
const TOKENS: u32 = ROWS / PER_KV;    // of a workgroup; rows beyond those of TOKENS tokens have no weights
const KEYS: u32 = 32u;
const WG: u32 = SIZE * 8u;
const STEPS: u32 = D / 8u;            // loads of a row
const LOADS: u32 = KEYS * STEPS / WG;
const LD: u32 = STEPS + 1u;           // staged rows, in blocks of eight elements, lie apart so that banks differ
const VALUES: u32 = KEYS * LD;        // where the staged values begin
const LD_S: u32 = KEYS / 4u + 1u;     // rows of scores, in blocks of four
const LD_P: u32 = KEYS / 8u + 1u;     // rows of weights, in blocks of eight
const EACH: u32 = WG / ROWS;          // invocations of a row
const FOURS: u32 = KEYS / 4u / EACH;  // fours of scores of an invocation
const DEPTH: u32 = D / 16u;           // products of a score
const TALL: u32 = ROWS / 64u;         // times 16 rows, whose scores a subgroup makes
const PAIRS: u32 = ROWS / 32u;        // of tiles of 16 rows, whose sums a subgroup makes
const WIDE: u32 = DEPTH * PAIRS / 8u;  // times 16 columns of these
const LOWEST: f32 = -3.0e38;
const LOG2_E: f32 = 1.4426950408889634;

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,
  max_pages: u32,  // entries per sequence in page_table
  scale: f32,
  tokens: u32,     // of the call
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;  // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> page_table: array<u32>;    // [sequences, max_pages]
@group(0) @binding(3) var<storage, read> q_rope: array<vec4<f32>>;  // [tokens, HEADS, D]

// Sizes are multiples of 16 bytes, atomics included: matrices are loaded from addresses that drivers take to be aligned.
var<workgroup> kv: array<vec4<u32>, 2u * VALUES>;  // keys, then values, as binary16
var<workgroup> s: array<vec4<f32>, ROWS * LD_S>;   // scores; sometimes one product of each subgroup
var<workgroup> p: array<vec4<u32>, ROWS * LD_P>;   // softmax weights as binary16; at the end (maximum, sum, gate, factor) of rows
var<workgroup> factor: array<f32, ROWS>;      // what a row's sums are multiplied by when its reference moves
var<workgroup> moved: array<atomic<u32>, 4>;  // the first: whether any row's reference moves

// Positions from begin to end, which is not one of them.
struct Range {
  begin: u32,
  end: u32,
}

// Rows of a workgroup: tokens first .. first + count - 1 of the call, query heads from head0 on.
struct Rows {
  first: u32,
  count: u32,
  head0: u32,
  slice: u32,
}

@compute @workgroup_size(WG) @diagnostic(off, chromium.subgroup_matrix_uniformity) @diagnostic(off, subgroup_uniformity)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) li: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  // The last tokens see most: they begin first, so that what runs at the end is short.
  let first = ((params.tokens + TOKENS - 1u) / TOKENS - 1u - workgroup_id.y) * TOKENS;
  let rows = Rows(first, min(TOKENS, params.tokens - first), workgroup_id.z * PER_KV, workgroup_id.x);
  let sg = subgroup % 8u;
  let pair = sg % PAIRS;
  let column = sg / PAIRS * WIDE;  // in blocks of 16
  let lane = li % SIZE;

  // Queries pass through the staging area, 32 rows at a time, scaled so that 2^score is what softmax needs.
  var queries: Queries;
  for (var round = 0u; round < PAIRS; round++) {
    for (var j = 0u; j < LOADS; j++) {
      let staged = (li + j * WG) / STEPS;
      let row = round * 32u + staged;
      let token = params.token_begin + first + min(row / PER_KV, rows.count - 1u);
      let source = (token * HEADS + rows.head0 + row % PER_KV) * (D / 4u) + li % STEPS * 2u;
      let lo = q_rope[source] * (params.scale * LOG2_E);
      let hi = q_rope[source + 1u] * (params.scale * LOG2_E);
      kv[staged * LD + li % STEPS] = staged_halves(lo, hi);
    }
    workgroupBarrier();
    if (sg % 4u * TALL / 2u == round) {
      load_queries(&queries, sg % 4u);
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
  let row = li / EACH;
  let key0 = li % EACH * (FOURS * 4u);
  let own = row / PER_KV;  // the token of the invocation's row
  var gated = 1.0;
  var peak = LOWEST;       // largest score so far
  var reference = LOWEST;  // weights are 2^(score - reference)
  var total = 0.0;         // of this invocation's keys
  var started = false;
  var next = 0u;
  while (next < rows.count) {
    // The tokens from `since` to `next` follow each other in one sequence: what any of them sees.
    let since = next;
    let start = places[params.token_begin + first + since];
    let sequence = start.x;
    var all = Range(0xffffffffu, 0u);
    while (next < rows.count) {
      let place = places[params.token_begin + first + next];
      if (place.x != sequence || place.y != start.y + next - since) {
        break;
      }
      let range = slice_of(place.y, rows.slice);
      if (range.begin < range.end) {
        all = Range(min(all.begin, range.begin), max(all.end, range.end));
      }
      next++;
    }
    var seen = Range(0u, 0u);
    if (own >= since && own < next) {
      seen = slice_of(places[params.token_begin + first + own].y, rows.slice);
      gated = gate(params.token_begin + first + own, rows.head0 + row % PER_KV);
    }
    if (all.begin >= all.end) {
      continue;
    }

    // Tiles of keys begin at multiples of their size, so that each lies within one page.
    let begin = all.begin / KEYS * KEYS;
    var k_next: array<Fetched, LOADS>;
    var v_next: array<Fetched, LOADS>;
    var page = page_table[page_index(sequence, begin)];
    for (var j = 0u; j < LOADS; j++) {
      let at = page_row(page, min(begin + (li + j * WG) / STEPS, all.end - 1u)) + workgroup_id.z;
      k_next[j] = fetch_k(at, li % STEPS);
      v_next[j] = fetch_v(at, li % STEPS);
    }
    page = page_table[page_index(sequence, min(begin + KEYS, all.end - 1u))];
    for (var base = begin; base < all.end; base += KEYS) {
      for (var j = 0u; j < LOADS; j++) {
        let key = (li + j * WG) / STEPS;
        let at = key * LD + li % STEPS;
        kv[at] = halves(k_next[j]);
        // A weight of zero does not silence what nobody sees, which may be anything.
        let present = base + key >= all.begin && base + key < all.end;
        kv[VALUES + at] = select(vec4<u32>(0u), halves(v_next[j]), present);
      }
      if (li == 0u) {
        atomicStore(&moved[0], 0u);
      }
      workgroupBarrier();

      if (base + KEYS < all.end) {
        for (var j = 0u; j < LOADS; j++) {
          let at = page_row(page, min(base + KEYS + (li + j * WG) / STEPS, all.end - 1u)) + workgroup_id.z;
          k_next[j] = fetch_k(at, li % STEPS);
          v_next[j] = fetch_v(at, li % STEPS);
        }
        page = page_table[page_index(sequence, min(base + 2u * KEYS, all.end - 1u))];
      }

      put_scores(&queries, sg % 4u, sg / 4u % 2u);
      workgroupBarrier();

      var scores: array<vec4<f32>, FOURS>;
      var most = vec4<f32>(LOWEST);
      for (var i = 0u; i < FOURS; i++) {
        let at = vec4<u32>(base + key0 + i * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
        let visible = (at >= vec4<u32>(seen.begin)) & (at < vec4<u32>(seen.end));
        scores[i] = select(vec4<f32>(LOWEST), s[row * LD_S + li % EACH * FOURS + i], visible);
        most = max(most, scores[i]);
      }
      var m = max(max(most.x, most.y), max(most.z, most.w));
      m = max(m, subgroupShuffleXor(m, 1u));
      if (EACH == 4u) {
        m = max(m, subgroupShuffleXor(m, 2u));
      }
      peak = max(peak, m);
      var f = 1.0;
      if (m > reference + 8.0) {
        f = exp2(reference - m);
        reference = m;
        atomicStore(&moved[0], 1u);
      }
      total *= f;
      for (var i = 0u; i < FOURS; i += 2u) {
        let lo = weights(scores[i], reference);
        let hi = weights(scores[i + 1u], reference);
        total += dot(lo + hi, vec4<f32>(1.0));
        p[row * LD_P + (li % EACH * FOURS + i) / 2u] = vec4<u32>(
          pack2x16float(lo.xy), pack2x16float(lo.zw), pack2x16float(hi.xy), pack2x16float(hi.zw));
      }
      if (li % EACH == 0u) {
        factor[row] = f;
      }
      if (workgroupUniformLoad(&moved[0]) != 0u && started) {
        subgroupMatrixStore<row_major>(&s, sg * 64u, c0, 4u);
        rescale(sg, pair * 32u, lane);
        c0 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
        if (WIDE >= 2u) {
          subgroupMatrixStore<row_major>(&s, sg * 64u, c1, 4u);
          rescale(sg, pair * 32u, lane);
          c1 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
        }
        if (WIDE == 4u) {
          subgroupMatrixStore<row_major>(&s, sg * 64u, c2, 4u);
          rescale(sg, pair * 32u, lane);
          c2 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
          subgroupMatrixStore<row_major>(&s, sg * 64u, c3, 4u);
          rescale(sg, pair * 32u, lane);
          c3 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
        }
        subgroupMatrixStore<row_major>(&s, sg * 64u, c4, 4u);
        rescale(sg, pair * 32u + 16u, lane);
        c4 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
        if (WIDE >= 2u) {
          subgroupMatrixStore<row_major>(&s, sg * 64u, c5, 4u);
          rescale(sg, pair * 32u + 16u, lane);
          c5 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
        }
        if (WIDE == 4u) {
          subgroupMatrixStore<row_major>(&s, sg * 64u, c6, 4u);
          rescale(sg, pair * 32u + 16u, lane);
          c6 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
          subgroupMatrixStore<row_major>(&s, sg * 64u, c7, 4u);
          rescale(sg, pair * 32u + 16u, lane);
          c7 = subgroupMatrixLoad<Sums, row_major>(&s, sg * 64u, 4u);
        }
      }
      started = true;
      for (var step = 0u; step < KEYS / 16u; step++) {
        let p0 = subgroupMatrixLoad<Left, row_major>(&p, pair * 32u * LD_P + step * 2u, LD_P);
        let p1 = subgroupMatrixLoad<Left, row_major>(&p, (pair * 32u + 16u) * LD_P + step * 2u, LD_P);
        let v0 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + step * 16u * LD + column * 2u + 0u, LD);
        c0 = subgroupMatrixMultiplyAccumulate(p0, v0, c0);
        c4 = subgroupMatrixMultiplyAccumulate(p1, v0, c4);
        if (WIDE >= 2u) {
          let v1 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + step * 16u * LD + column * 2u + 2u, LD);
          c1 = subgroupMatrixMultiplyAccumulate(p0, v1, c1);
          c5 = subgroupMatrixMultiplyAccumulate(p1, v1, c5);
        }
        if (WIDE == 4u) {
          let v2 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + step * 16u * LD + column * 2u + 4u, LD);
          c2 = subgroupMatrixMultiplyAccumulate(p0, v2, c2);
          c6 = subgroupMatrixMultiplyAccumulate(p1, v2, c6);
          let v3 = subgroupMatrixLoad<Right, row_major>(&kv, VALUES + step * 16u * LD + column * 2u + 6u, LD);
          c3 = subgroupMatrixMultiplyAccumulate(p0, v3, c3);
          c7 = subgroupMatrixMultiplyAccumulate(p1, v3, c7);
        }
      }
      workgroupBarrier();
    }
  }

  // Relative to the true maximum at last.
  let f = exp2(reference - peak);
  total += subgroupShuffleXor(total, 1u);
  if (EACH == 4u) {
    total += subgroupShuffleXor(total, 2u);
  }
  if (li % EACH == 0u) {
    p[row] = bitcast<vec4<u32>>(vec4<f32>(peak / LOG2_E, total * f, gated, f));
  }
  subgroupMatrixStore<row_major>(&s, sg * 64u, c0, 4u);
  keep(rows, sg, pair * 32u, column * 16u + 0u, lane);
  if (WIDE >= 2u) {
    subgroupMatrixStore<row_major>(&s, sg * 64u, c1, 4u);
    keep(rows, sg, pair * 32u, column * 16u + 16u, lane);
  }
  if (WIDE == 4u) {
    subgroupMatrixStore<row_major>(&s, sg * 64u, c2, 4u);
    keep(rows, sg, pair * 32u, column * 16u + 32u, lane);
    subgroupMatrixStore<row_major>(&s, sg * 64u, c3, 4u);
    keep(rows, sg, pair * 32u, column * 16u + 48u, lane);
  }
  subgroupMatrixStore<row_major>(&s, sg * 64u, c4, 4u);
  keep(rows, sg, pair * 32u + 16u, column * 16u + 0u, lane);
  if (WIDE >= 2u) {
    subgroupMatrixStore<row_major>(&s, sg * 64u, c5, 4u);
    keep(rows, sg, pair * 32u + 16u, column * 16u + 16u, lane);
  }
  if (WIDE == 4u) {
    subgroupMatrixStore<row_major>(&s, sg * 64u, c6, 4u);
    keep(rows, sg, pair * 32u + 16u, column * 16u + 32u, lane);
    subgroupMatrixStore<row_major>(&s, sg * 64u, c7, 4u);
    keep(rows, sg, pair * 32u + 16u, column * 16u + 48u, lane);
  }
}

// What a query at `position` sees in a slice; what is empty has no begin below its end.
fn slice_of(position: u32, slice: u32) -> Range {
  let first = first_seen(position);
  let length = slice_length(position + 1u - first);
  let begin = first + slice * length;
  return Range(begin, min(begin + length, position + 1u));
}

// Softmax weights of four scores; none of what is not seen, whose scores are the lowest.
fn weights(scores: vec4<f32>, reference: f32) -> vec4<f32> {
  return select(vec4<f32>(0.0), exp2(scores - reference), scores > vec4<f32>(LOWEST));
}

// Multiplies the product that the subgroup left in `s` by its rows' factors. All subgroups come here together.
fn rescale(sg: u32, row0: u32, lane: u32) {
  workgroupBarrier();
  for (var i = lane; i < 64u; i += SIZE) {
    s[sg * 64u + i] *= factor[row0 + i / 4u];
  }
  workgroupBarrier();
}

// Writes the product that the subgroup left in `s`: rows from row0 on, columns from column0 on.
fn keep(rows: Rows, sg: u32, row0: u32, column0: u32, lane: u32) {
  workgroupBarrier();
  for (var i = lane; i < 64u; i += SIZE) {
    let row = row0 + i / 4u;
    let token = row / PER_KV;
    let of_row = bitcast<vec4<f32>>(p[row]);
    if (token < rows.count && of_row.y > 0.0) {
      let o = in_order(s[sg * 64u + i]) * of_row.w;
      let head = rows.head0 + row % PER_KV;
      store_four(rows.first + token, rows.slice, head, column0 / 4u + i % 4u, o, of_row.xy, of_row.z);
    }
  }
  workgroupBarrier();
}
