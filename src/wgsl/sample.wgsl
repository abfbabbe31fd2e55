// Chooses the next token of a sequence from a row of logits: one workgroup per row.
//
// The order is that of Hugging Face transformers: repetition penalty, temperature, top-k, top-p, min-p, draw.
// Floats are handled as keys: u32s of the same order, so that a kept set is "keys from a threshold on" and ties stay
// together.
//
// A row is read once for the maximum, unless logit_peaks has found that of every block of it, and that is all at
// temperature 0. The thresholds of top-k and top-p are found without sorting, each with two more readings: the first
// adds the count or mass of the keys up in bins by their distance from the maximum; the second collects the keys of the
// bin that the threshold lies in, which is then found eight bits at a time. Should that bin hold too many keys, the row
// is read again for the last three times eight bits. One more reading sums the kept weights for the draw, and a quarter
// of the row is read again to find it. All sums are made of integers, or in an order that depends on the vocabulary alone.
//
// Temperature 0 takes the largest logit, the first of equals. NaN logits count as below all others: they are never
// drawn, and token 0 is chosen when there is nothing else. Logits of -inf are never drawn either; when there is no
// other, the first of them is chosen.
//
// Library files give mul_high (turns), keys (logit_keys), and the maximum of a row (top_*).

const WG: u32 = 256u;
const STEP: u32 = 4u * WG;            // vectors that the workgroup loads at a time
const MAX_BLOCKS: u32 = 4u;           // parts of the vocabulary in draw
const ROUNDS: u32 = 5u;               // of a threshold: bins, then four digits of eight bits
const LAST_BIN: u32 = 255u;           // holds all that is too far away for the others
const BINS_PER_UNIT: f32 = 16.0;      // of logits for top-k, of logits over temperature for top-p
const CAPACITY: u32 = 2048u;

struct Params {
  vocab: u32,          // at most WG * WG * 4 * MAX_BLOCKS
  logits_stride: u32,  // elements from one row of logits to the next, a multiple of 4
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<u32>>;             // [rows, logits_stride], bits of f32
@group(0) @binding(2) var<storage, read> row_sequences: array<u32>;            // [rows]
@group(0) @binding(3) var<storage, read> options: array<u32>;                  // [sequences, 8], see load_row
@group(0) @binding(4) var<storage, read_write> seen: array<atomic<u32>>;       // [sequences, ceil(vocab / 32)], a bit per token
@group(0) @binding(5) var<storage, read_write> next_tokens: array<u32>;        // [sequences]
@group(0) @binding(6) var<storage, read_write> next_places: array<vec2<u32>>;  // [sequences] of (sequence, position)

var<workgroup> low: array<atomic<u32>, WG>;     // of the sums of bins and digits: counts, or masses in 2^-44
var<workgroup> high: array<atomic<u32>, WG>;    // masses in 2^-12
var<workgroup> collected: array<u32, CAPACITY>;  // keys of a bin, in any order
var<workgroup> collected_count: atomic<u32>;
var<workgroup> scratch: array<f32, WG>;  // what sum_scratch and locate are about
var<workgroup> parts: array<f32, 16>;    // sums of 16 of them each

fn seen_word(i: u32) -> u32 {
  return atomicLoad(&seen[i]);
}

// Four vectors of logits, loaded without waiting for one another. Loops over a batch shift it, and their bound keeps
// drivers from unrolling them.
struct Batch { a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32> }

// Vectors i, i + stride, i + 2 stride and i + 3 stride of a row, as far as they lie before `end`, as i does.
fn load(row: Row, i: u32, stride: u32, end: u32) -> Batch {
  let at = vec4<u32>(row.logits_at) + min(vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) * stride, vec4<u32>(end - 1u));
  return Batch(logits[at.x], logits[at.y], logits[at.z], logits[at.w]);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// Probability relative to the most probable token.
fn weight(row: Row, key: u32, top: u32) -> f32 {
  let w = exp((value_of(key) - value_of(top)) / row.temperature);
  return select(select(w, 1.0, key == top), 0.0, key <= KEY_MINUS_INF);
}

// The same, or 0 for tokens that are not kept.
fn kept_weight(row: Row, key: u32, top: u32, threshold: u32) -> f32 {
  if (key < threshold) {
    return 0.0;
  }
  let w = weight(row, key, top);
  return select(0.0, w, w >= row.min_p);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let given = known(workgroup_id.x, li);
  let sequence = row_sequences[workgroup_id.x];
  let row = load_row(workgroup_id.x, sequence);
  let position = next_places[sequence].y + 1u;
  let best = best_of_all(own_best(row, given, li), li);
  let top = best.x;
  var chosen = best.y;

  // Quotients by smaller temperatures overflow anyway.
  if (row.temperature > 1e-30) {
    let threshold = find_threshold(row, top, li);
    let drawn = draw(row, top, threshold, uniform_number(position, row.seed), li);
    chosen = select(chosen, drawn, drawn < params.vocab);
  }
  if (li == 0u) {
    next_tokens[sequence] = chosen;
    next_places[sequence].y = position;
    atomicOr(&seen[row.seen_at + chosen / 32u], 1u << (chosen % 32u));
  }
}

// What a search for a threshold is about at present.
struct Search {
  top: u32,
  lowest: u32,  // smaller keys are out already
  by_mass: bool,
  step: u32,
  bin: u32,
  prefix: u32,  // digits of the threshold so far
}

// Smallest key that top-k and top-p keep.
fn find_threshold(row: Row, top: u32, li: u32) -> u32 {
  var search = Search(top, KEY_NAN + 1u, false, 0u, 0u, 0u);
  var above = 0.0;  // count or mass of keys above those with this bin and prefix
  var goal = 0.0;
  // Rounds of top-k, then rounds of top-p.
  let first = select(ROUNDS, 0u, row.top_k > 0u);
  let end = select(ROUNDS, 2u * ROUNDS, row.top_p < 1.0);
  for (var round = first; round < end; round++) {
    let step = round % ROUNDS;
    search.step = step;
    search.by_mass = round >= ROUNDS;
    atomicStore(&low[li], 0u);
    atomicStore(&high[li], 0u);
    if (step == 0u && li == 0u) {
      atomicStore(&collected_count, 0u);
    }
    workgroupBarrier();
    let count = atomicLoad(&collected_count);
    if (step > 1u && count <= CAPACITY) {
      for (var i = li; i < count; i += WG) {
        visit(row, search, collected[i]);
      }
    } else {
      visit_all(row, search, li);
    }
    workgroupBarrier();
    let units = f32(atomicLoad(&low[li]));
    scratch[li] = select(units, f32(atomicLoad(&high[li])) * 0x1p-12 + units * 0x1p-44, search.by_mass);
    let total = sum_scratch(li);
    if (step == 0u) {
      above = 0.0;
      // The first key counts even for top_p = 0.
      goal = select(f32(row.top_k), max(row.top_p * total, 1e-30), search.by_mass);
    }
    let place = locate(goal, above, false);
    above = place.below;
    search.bin = select(search.bin, place.index, step == 0u);
    search.prefix = select(search.prefix * 256u + place.index, 0u, step == 0u);
    if (step == ROUNDS - 1u) {
      search.lowest = max(search.lowest, ~search.prefix);
    }
  }
  return search.lowest;
}

fn bin_of(row: Row, search: Search, key: u32) -> u32 {
  let distance = (value_of(search.top) - value_of(key)) / select(1.0, row.temperature, search.by_mass);
  let bin = u32(min(distance * BINS_PER_UNIT, f32(LAST_BIN)));
  return select(select(bin, 0u, key == search.top), LAST_BIN, key <= KEY_MINUS_INF);
}

// Adds a count, or a mass below 2^19.
fn add(index: u32, amount: f32, by_mass: bool) {
  let whole = floor(amount * 4096.0);
  let units = select(u32(amount), u32((amount * 4096.0 - whole) * 0x1p32), by_mass);
  let carry = select(0u, 1u, atomicAdd(&low[index], units) > ~units);
  let wholes = select(0u, u32(whole) + carry, by_mass);
  if (wholes > 0u) {
    atomicAdd(&high[index], wholes);
  }
}

fn visit_all(row: Row, search: Search, li: u32) {
  let end = (params.vocab + 3u) / 4u;
  var last = 0.0;
  for (var i = li; i < end; i += STEP) {
    var batch = load(row, i, WG, end);
    for (var at = i; at < min(i + STEP, end); at += WG) {
      let keys = keys_of(row, at, batch.a);
      last += (visit(row, search, keys.x) + visit(row, search, keys.y)) +
        (visit(row, search, keys.z) + visit(row, search, keys.w));
      batch = Batch(batch.b, batch.c, batch.d, batch.d);
    }
  }
  if (search.step == 0u) {
    add(LAST_BIN, last, search.by_mass);
  }
}

// Adds a key to its bin, or one of the chosen bin to its digit. Returned is what to add to the last bin, which tends to
// hold most of the vocabulary.
fn visit(row: Row, search: Search, key: u32) -> f32 {
  var index = bin_of(row, search, key);
  if (key < search.lowest || (search.step > 0u && index != search.bin)) {
    return 0.0;
  }
  if (search.step == 1u) {
    let slot = atomicAdd(&collected_count, 1u);
    if (slot < CAPACITY) {
      collected[slot] = key;
    }
  }
  if (search.step > 0u) {
    // Digits are those of ~key: the largest keys come first.
    index = (~key >> (32u - search.step * 8u)) - search.prefix * 256u;
    if (index > 255u) {
      return 0.0;
    }
  }
  let amount = select(1.0, weight(row, key, search.top), search.by_mass);
  if (search.step == 0u && index == LAST_BIN) {
    return amount;
  }
  add(index, amount, search.by_mass);
  return 0.0;
}

// Sum of scratch; leaves the sums of its parts for locate.
fn sum_scratch(li: u32) -> f32 {
  workgroupBarrier();
  if (li < 16u) {
    var part = 0.0;
    for (var i = li * 16u; i < li * 16u + 16u; i++) {
      part += scratch[i];
    }
    parts[li] = part;
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < 16u; i++) {
    sum += parts[i];
  }
  return sum;
}

struct Place { index: u32, below: f32 }  // below: sum before it

// After sum_scratch: the first entry at which the sum from `start` on reaches the goal, or exceeds it. Without one, as
// rounding may have it, the last that is not 0; without any of those, the last.
fn locate(goal: f32, start: f32, exceed: bool) -> Place {
  var below = start;
  var sum = start;
  var part = 15u;
  for (var i = 0u; i < 16u && (sum < goal || (exceed && sum == goal)); i++) {
    if (parts[i] > 0.0) {
      part = i;
      below = sum;
      sum += parts[i];
    }
  }
  sum = below;
  var index = part * 16u + 15u;
  for (var i = part * 16u; i < part * 16u + 16u && (sum < goal || (exceed && sum == goal)); i++) {
    if (scratch[i] > 0.0) {
      index = i;
      below = sum;
      sum += scratch[i];
    }
  }
  return Place(index, below);
}

// The first token whose cumulative weight exceeds u times the total; beyond the vocabulary when nothing has weight.
// It is looked for in up to four blocks, then in 256 chunks of that block, then among the tokens of that chunk.
fn draw(row: Row, top: u32, threshold: u32, u: f32, li: u32) -> u32 {
  let all = (params.vocab + 3u) / 4u;  // vectors
  let blocks = min((all + STEP - 1u) / STEP, MAX_BLOCKS);
  let block = (all + blocks - 1u) / blocks;
  let chunk = (block + WG - 1u) / WG;
  var goal = 0.0;
  var found = 0u;
  var below = 0.0;  // weight of what comes before the drawn block
  var totals = vec4<f32>(0.0);
  // All blocks, then the chunks of the drawn one.
  for (var b = 0u; b <= blocks; b++) {
    var begin = b * block + li;
    var end = min((b + 1u) * block, all);
    var stride = WG;
    if (b == blocks) {
      goal = u * (((totals.x + totals.y) + totals.z) + totals.w);
      // The last block with any weight, should the product be rounded up to the total.
      var sum = 0.0;
      for (var i = 0u; i < blocks && sum <= goal; i++) {
        if (totals[i] > 0.0) {
          found = i;
          below = sum;
          sum += totals[i];
        }
      }
      begin = found * block + li * chunk;
      end = min(begin + chunk, min((found + 1u) * block, all));
      stride = 1u;
    }
    var own = 0.0;
    for (var i = begin; i < end; i += 4u * stride) {
      var batch = load(row, i, stride, end);
      for (var at = i; at < min(i + 4u * stride, end); at += stride) {
        let keys = keys_of(row, at, batch.a);
        own += (kept_weight(row, keys.x, top, threshold) + kept_weight(row, keys.y, top, threshold)) +
          (kept_weight(row, keys.z, top, threshold) + kept_weight(row, keys.w, top, threshold));
        batch = Batch(batch.b, batch.c, batch.d, batch.d);
      }
    }
    workgroupBarrier();
    scratch[li] = own;
    let total = sum_scratch(li);
    totals = select(totals, vec4<f32>(total), vec4<u32>(b) == vec4<u32>(0u, 1u, 2u, 3u));
  }
  let place = locate(goal, below, true);

  let first = found * block + place.index * chunk;
  let end = min(first + chunk, min((found + 1u) * block, all));
  let i = first + li / 4u;
  workgroupBarrier();
  scratch[li] = 0.0;
  if (i < end) {
    scratch[li] = kept_weight(row, keys_of(row, i, logits[row.logits_at + i])[li % 4u], top, threshold);
  }
  sum_scratch(li);
  let drawn = locate(goal, place.below, true).index;
  return select(0xffffffffu, first * 4u + drawn, scratch[drawn] > 0.0);
}

// A number in [0, 1) of 24 bits that depends on the seed and on the position of the new token alone.
fn uniform_number(position: u32, seed: vec2<u32>) -> f32 {
  return f32(philox(position, seed) >> 8u) * 5.9604644775390625e-8;  // 2^-24
}

// First word of Philox4x32-10 for the counter (position, 0, 0, 0).
fn philox(position: u32, seed: vec2<u32>) -> u32 {
  var c = vec4<u32>(position, 0u, 0u, 0u);
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    c = vec4<u32>(
      mul_high(0xcd9e8d57u, c.z) ^ c.y ^ key.x, 0xcd9e8d57u * c.z,
      mul_high(0xd2511f53u, c.x) ^ c.w ^ key.y, 0xd2511f53u * c.x);
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c.x;
}
