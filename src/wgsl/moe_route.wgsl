// Routing of any number of tokens by one workgroup: first every invocation chooses experts for its tokens, then the
// (token, choice) pairs are grouped by expert, keeping their order, and each group is cut into tiles of at most `tile`
// pairs: counts per expert, then every expert finds its start, then pairs are placed 256 at a time.
// A token's experts are the TOP_K of largest keys (lower index first among equals), weighted by their scores. Shares are
// divided by the sum over all experts or, if RENORMALISE, all scores by the sum over the chosen ones; then weights are
// multiplied with SCALE. The library score_* gives keys and scores.
//
// --- specialised ---
const EXPERTS: u32 = 8u;          // moe_num_experts
const TOP_K: u32 = 2u;            // moe_top_k
const RENORMALISE: bool = false;  // norm_expert_weight
const SCALE: f32 = 1.0;           // moe_router_scaling_factor

const LOGITS_STRIDE: u32 = (EXPERTS + 7u) / 8u * 8u;
const WG: u32 = 256u;
const UNUSED: u32 = 0xffffffffu;

struct Params {
  tokens: u32,
  tile: u32,       // pairs per tile
  max_tiles: u32,  // entries of tiles, enough for any routing
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> expert_ids: array<u32>;      // [tokens, TOP_K]
@group(0) @binding(2) var<storage, read_write> expert_weights: array<f32>;  // [tokens, TOP_K]
@group(0) @binding(3) var<storage, read_write> pairs: array<u32>;           // [tokens * TOP_K], in order of experts
@group(0) @binding(4) var<storage, read_write> tiles: array<vec4<u32>>;     // [max_tiles] of (expert, begin, count, 0)
@group(0) @binding(5) var<storage, read> router_logits: array<f32>;         // [tokens, LOGITS_STRIDE]

var<workgroup> counts: array<atomic<u32>, EXPERTS>;
var<workgroup> next: array<u32, EXPERTS>;
var<workgroup> batch: array<u32, WG>;

struct Choice {
  key: f32,
  expert: u32,
}

// The expert that follows `last` in the order of keys.
fn next_choice(token: u32, last: Choice) -> Choice {
  let begin = token * LOGITS_STRIDE;
  // Not a constant bound: drivers would unroll the loop at every call.
  let end = begin + EXPERTS;
  var best = Choice(-3.4028234e38, EXPERTS - 1u);
  for (var at = begin; at < end; at++) {
    let expert = at - begin;
    let key = score_key(router_logits[at], expert);
    let follows = key < last.key || (key == last.key && expert > last.expert);
    if (follows && key > best.key) {
      best = Choice(key, expert);
    }
  }
  return best;
}

// Chooses a token's experts, and counts them.
fn route(token: u32) {
  var found = Choice(3.4028234e38, 0u);
  var top = 0.0;
  var chosen = 0.0;
  for (var i = 0u; i < TOP_K; i++) {
    found = next_choice(token, found);
    let logit = router_logits[token * LOGITS_STRIDE + found.expert];
    if (i == 0u) {
      top = logit;
    }
    let weight = score(logit, top);
    chosen += weight;
    expert_ids[token * TOP_K + i] = found.expert;
    expert_weights[token * TOP_K + i] = weight;
    atomicAdd(&counts[found.expert], 1u);
  }
  var total = max(chosen, 1e-20);
  if (!RENORMALISE) {
    total = 1.0;
  }
  if (!RENORMALISE && SHARES) {
    total = 0.0;
    let begin = token * LOGITS_STRIDE;
    let end = begin + EXPERTS;
    for (var at = begin; at < end; at++) {
      total += score(router_logits[at], top);
    }
  }
  for (var i = 0u; i < TOP_K; i++) {
    expert_weights[token * TOP_K + i] *= SCALE / total;
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) li: u32) {
  for (var e = li; e < EXPERTS; e += WG) {
    atomicStore(&counts[e], 0u);
  }
  workgroupBarrier();
  for (var token = li; token < params.tokens; token += WG) {
    route(token);
  }
  storageBarrier();
  workgroupBarrier();
  let pair_count = params.tokens * TOP_K;
  for (var e = li; e < EXPERTS; e += WG) {
    var begin = 0u;
    var tile = 0u;
    for (var other = 0u; other < e; other++) {
      let count = atomicLoad(&counts[other]);
      begin += count;
      tile += (count + params.tile - 1u) / params.tile;
    }
    next[e] = begin;
    let count = atomicLoad(&counts[e]);
    for (var done = 0u; done < count; done += params.tile) {
      tiles[tile] = vec4<u32>(e, begin + done, min(params.tile, count - done), 0u);
      tile++;
    }
    if (e == EXPERTS - 1u) {
      for (; tile < params.max_tiles; tile++) {
        tiles[tile] = vec4<u32>(UNUSED, 0u, 1u, 0u);
      }
    }
  }
  for (var base = 0u; base < pair_count; base += WG) {
    let p = base + li;
    var expert = UNUSED;
    if (p < pair_count) {
      expert = expert_ids[p];
    }
    workgroupBarrier();
    batch[li] = expert;
    workgroupBarrier();
    // My place among the pairs of this batch with the same expert; the last of them moves the expert's start.
    var before = 0u;
    var after = 0u;
    let size = min(WG, pair_count - base);
    for (var i = 0u; i < size; i++) {
      let same = u32(batch[i] == expert);
      before += select(0u, same, i < li);
      after += select(0u, same, i > li);
    }
    var at = 0u;
    if (expert != UNUSED) {
      at = next[expert] + before;
      pairs[at] = p;
    }
    workgroupBarrier();
    if (expert != UNUSED && after == 0u) {
      next[expert] = at + 1u;
    }
  }
}
