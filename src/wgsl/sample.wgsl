// Chooses the next token of a sequence from a row of logits: one workgroup per row.
//
// The order is that of Hugging Face transformers: repetition penalty, temperature, top-k, top-p, min-p, draw.
// Floats are handled as keys: u32s of the same order, so that a kept set is "keys from a threshold on" and ties stay
// together. A threshold is found without sorting, three bits of the key per pass over the row, by the count (top-k) or
// the mass (top-p) of each of the eight digits. All sums are made in an order that depends on the vocabulary alone.
//
// Temperature 0 takes the largest logit, the first of equals. NaN logits count as below all others: they are never
// drawn, and token 0 is chosen when there is nothing else. Logits of -inf are never drawn either; when there is no
// other, the first of them is chosen.
//
// The library turns gives mul_high.

const WG: u32 = 256u;
const ROUNDS: u32 = 11u;              // digits of a key, the first of two bits
const KEY_NAN: u32 = 0u;
const KEY_MINUS_INF: u32 = 0x7fffffu;

struct Params {
  vocab: u32,          // at most WG * 1024
  logits_stride: u32,  // elements from one row of logits to the next
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<u32>;                   // [rows, logits_stride], bits of f32
@group(0) @binding(2) var<storage, read> row_sequences: array<u32>;            // [rows]
@group(0) @binding(3) var<storage, read> options: array<u32>;                  // [sequences, 8], see load_row
@group(0) @binding(4) var<storage, read_write> seen: array<u32>;               // [sequences, ceil(vocab / 32)], a bit per token
@group(0) @binding(5) var<storage, read_write> next_tokens: array<u32>;        // [sequences]
@group(0) @binding(6) var<storage, read_write> next_places: array<vec2<u32>>;  // [sequences] of (sequence, position)

var<workgroup> max_key: atomic<u32>;
var<workgroup> max_from_end: atomic<u32>;  // vocab - index of the first maximum
var<workgroup> scratch: array<f32, 2048>;  // [8, WG]: digit, invocation; later sums and weights of chunks
var<workgroup> parts: array<f32, WG>;      // [8, 32]: digit, sum of 8 invocations
var<workgroup> digits: array<f32, 8>;
var<workgroup> drawn_chunk: u32;

struct Row {
  logits_at: u32,
  seen_at: u32,
  temperature: f32,  // 0: greedy
  top_k: u32,        // 0: off
  top_p: f32,        // 1: off
  min_p: f32,        // 0: off
  penalty: f32,      // 1: off
  seed: vec2<u32>,
}

fn load_row(row: u32, sequence: u32) -> Row {
  let at = sequence * 8u;
  return Row(
    row * params.logits_stride, sequence * ((params.vocab + 31u) / 32u), bitcast<f32>(options[at]), options[at + 1u],
    bitcast<f32>(options[at + 2u]), bitcast<f32>(options[at + 3u]), bitcast<f32>(options[at + 4u]),
    vec2<u32>(options[at + 5u], options[at + 6u]));
}

// Key of a token's penalised logit.
fn key_at(row: Row, token: u32) -> u32 {
  var bits = logits[row.logits_at + token];
  if (row.penalty != 1.0 && ((seen[row.seen_at + token / 32u] >> (token % 32u)) & 1u) == 1u) {
    let l = bitcast<f32>(bits);
    bits = bitcast<u32>(select(l * row.penalty, l / row.penalty, l > 0.0));
  }
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return KEY_NAN;
  }
  if (magnitude == bits || magnitude == 0u) {
    return magnitude | 0x80000000u;  // both zeros are one
  }
  return ~bits;
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// Probability relative to the most probable token.
fn weight(row: Row, key: u32, top: u32) -> f32 {
  if (key <= KEY_MINUS_INF) {
    return 0.0;
  }
  if (key == top) {
    return 1.0;
  }
  return exp((value_of(key) - value_of(top)) / row.temperature);
}

// The same, or 0 for tokens that are not kept.
fn kept_weight(row: Row, token: u32, top: u32, threshold: u32) -> f32 {
  let key = key_at(row, token);
  if (key < threshold) {
    return 0.0;
  }
  let w = weight(row, key, top);
  return select(0.0, w, w >= row.min_p);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let sequence = row_sequences[workgroup_id.x];
  let row = load_row(workgroup_id.x, sequence);

  var own_key = 0u;
  var own_token = 0u;
  for (var token = li; token < params.vocab; token += WG) {
    let key = key_at(row, token);
    if (key > own_key || token == li) {
      own_key = key;
      own_token = token;
    }
  }
  atomicMax(&max_key, own_key);
  workgroupBarrier();
  let top = atomicLoad(&max_key);
  if (own_key == top && li < params.vocab) {
    atomicMax(&max_from_end, params.vocab - own_token);
  }
  workgroupBarrier();
  var chosen = params.vocab - atomicLoad(&max_from_end);

  // Quotients by smaller temperatures overflow anyway.
  if (row.temperature > 1e-30) {
    let threshold = find_threshold(row, top, li);
    let u = uniform_number(next_places[sequence].y + 1u, row.seed);
    let drawn = draw(row, top, threshold, u, li);
    chosen = select(chosen, drawn, drawn < params.vocab);
  }
  if (li == 0u) {
    next_tokens[sequence] = chosen;
    next_places[sequence].y += 1u;
    seen[row.seen_at + chosen / 32u] |= 1u << (chosen % 32u);
  }
}

// Smallest key that top-k and top-p keep.
fn find_threshold(row: Row, top: u32, li: u32) -> u32 {
  var threshold = 0u;
  var prefix = 0u;  // digits found so far
  var above = 0.0;  // count or mass of keys above those with this prefix
  var goal = 0.0;
  // Rounds of top-k, then rounds of top-p.
  let first = select(ROUNDS, 0u, row.top_k > 0u);
  let end = select(ROUNDS, 2u * ROUNDS, row.top_p < 1.0);
  for (var round = first; round < end; round++) {
    let by_mass = round >= ROUNDS;
    let digit_index = round % ROUNDS;
    let shift = 30u - digit_index * 3u;
    if (digit_index == 0u) {
      prefix = 0u;
      above = 0.0;
    }
    var low = vec4<f32>(0.0);
    var high = vec4<f32>(0.0);
    for (var token = li; token < params.vocab; token += WG) {
      let key = key_at(row, token);
      let digit = (key >> shift) - prefix * 8u;
      if (digit < 8u && key >= threshold) {
        var w = 1.0;
        if (by_mass) {
          w = weight(row, key, top);
        }
        low += select(vec4<f32>(0.0), vec4<f32>(w), vec4<u32>(digit) == vec4<u32>(0u, 1u, 2u, 3u));
        high += select(vec4<f32>(0.0), vec4<f32>(w), vec4<u32>(digit) == vec4<u32>(4u, 5u, 6u, 7u));
      }
    }
    scratch[li] = low.x;
    scratch[WG + li] = low.y;
    scratch[2u * WG + li] = low.z;
    scratch[3u * WG + li] = low.w;
    scratch[4u * WG + li] = high.x;
    scratch[5u * WG + li] = high.y;
    scratch[6u * WG + li] = high.z;
    scratch[7u * WG + li] = high.w;
    workgroupBarrier();
    parts[li] = sum_scratch(li * 8u);
    workgroupBarrier();
    if (li < 8u) {
      digits[li] = sum_parts(li * 32u);
    }
    workgroupBarrier();
    if (digit_index == 0u) {
      var total = 0.0;
      for (var d = 0u; d < 8u; d++) {
        total += digits[d];
      }
      // The first key counts even for top_p = 0.
      goal = select(f32(row.top_k), max(row.top_p * total, 1e-30), by_mass);
    }
    // The largest digit with which the goal is reached; the smallest when rounding or a large top_k leaves none.
    var d = 7u;
    while (d > 0u && above + digits[d] < goal) {
      above += digits[d];
      d--;
    }
    prefix = prefix * 8u + d;
    if (digit_index == ROUNDS - 1u) {
      threshold = max(threshold, prefix);
    }
  }
  return threshold;
}

// Bounds that are not constant keep drivers from unrolling these loops.
fn sum_scratch(begin: u32) -> f32 {
  var sum = 0.0;
  for (var i = begin; i < begin + 8u; i++) {
    sum += scratch[i];
  }
  return sum;
}

fn sum_parts(begin: u32) -> f32 {
  var sum = 0.0;
  for (var i = begin; i < begin + 32u; i++) {
    sum += parts[i];
  }
  return sum;
}

// For invocation 0: the first token whose cumulative weight exceeds u times the total; beyond the vocabulary when
// nothing has weight. Every invocation sums a chunk of consecutive tokens; the chunk that u falls into is walked.
fn draw(row: Row, top: u32, threshold: u32, u: f32, li: u32) -> u32 {
  let chunk = (params.vocab + WG - 1u) / WG;
  var sum = 0.0;
  for (var token = li * chunk; token < min((li + 1u) * chunk, params.vocab); token++) {
    sum += kept_weight(row, token, top, threshold);
  }
  scratch[li] = sum;
  workgroupBarrier();
  var goal = 0.0;
  var below = 0.0;  // weight of the chunks before the drawn one
  if (li == 0u) {
    var total = 0.0;
    for (var c = 0u; c < WG; c++) {
      total += scratch[c];
    }
    goal = u * total;
    // The last chunk with any weight, should the product be rounded up to the total.
    var cumulative = 0.0;
    var found = 0u;
    for (var c = 0u; c < WG && cumulative <= goal; c++) {
      if (scratch[c] > 0.0) {
        found = c;
        below = cumulative;
        cumulative += scratch[c];
      }
    }
    drawn_chunk = found;
  }
  workgroupBarrier();
  let begin = drawn_chunk * chunk;
  let size = min(chunk, params.vocab - begin);
  for (var i = li; i < size; i += WG) {
    scratch[i] = kept_weight(row, begin + i, top, threshold);
  }
  workgroupBarrier();
  var drawn = 0xffffffffu;
  if (li == 0u) {
    var inside = 0.0;
    for (var i = 0u; i < size && below + inside <= goal; i++) {
      if (scratch[i] > 0.0) {
        drawn = begin + i;
        inside += scratch[i];
      }
    }
  }
  return drawn;
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
