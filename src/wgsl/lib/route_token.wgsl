// Choice of experts by the workgroup that needs them, straight from router logits: the TOP_K of largest keys (lower index
// first among equals), weighted by their scores. Shares are divided by the sum over all experts or, if RENORMALISE, all
// scores by the sum over the chosen ones; then weights are multiplied with SCALE.
// The kernel gives WG, the team file `invocation`, the library score_* keys and scores, route_all or route_leading
// note_quarter and rank_experts.
// --- specialised ---
const EXPERTS: u32 = 8u;          // moe_num_experts
const TOP_K: u32 = 2u;            // moe_top_k
const RENORMALISE: bool = false;  // norm_expert_weight
const SCALE: f32 = 1.0;           // moe_router_scaling_factor

const LOGITS_STRIDE: u32 = (EXPERTS + 7u) / 8u * 8u;

@group(0) @binding(5) var<storage, read> router_logits: array<f32>;  // [tokens, LOGITS_STRIDE]

const QUARTERS: u32 = (EXPERTS + 3u) / 4u;
const NO_KEY: f32 = -3.4e38;

var<workgroup> route_keys: array<vec4<f32>, QUARTERS>;
var<workgroup> routed_experts: array<u32, TOP_K>;
var<workgroup> routed_scores: array<f32, TOP_K>;

// Fills routed_experts, and routed_scores (for routed_weight) if `weigh`. For uniform control flow.
fn route_token(token: u32, weigh: bool) {
  for (var q = invocation; q < QUARTERS; q += WG) {
    var four = vec4<f32>(NO_KEY);
    for (var i = 0u; i < 4u; i++) {
      let e = q * 4u + i;
      if (e < EXPERTS) {
        four[i] = score_key(router_logits[token * LOGITS_STRIDE + e], e);
      }
    }
    route_keys[q] = four;
    note_quarter(q, four);
  }
  if (invocation < TOP_K) {
    routed_experts[invocation] = 0u;  // stays only where logits are NaN
  }
  workgroupBarrier();
  // Not a constant bound: drivers would unroll the loops.
  rank_experts(token, weigh, min(QUARTERS, arrayLength(&router_logits)));
  workgroupBarrier();
}

// 1 for each of four keys, those of numbers first .. first + 3 of `count`, that comes before `own`, that of number `e`.
fn leads(keys: vec4<f32>, first: u32, own: f32, e: u32, count: u32) -> vec4<u32> {
  let other = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
  let equal = (keys == vec4<f32>(own)) & (other < vec4<u32>(e));
  let ahead = ((keys > vec4<f32>(own)) | equal) & (other < vec4<u32>(count));
  return select(vec4<u32>(0u), vec4<u32>(1u), ahead);
}

// Expert `e` of key `own` has so many `ahead`: one of the choices, if these are less than TOP_K. There are `end` quarters.
fn take_place(token: u32, e: u32, own: f32, ahead: vec4<u32>, weigh: bool, end: u32) {
  let place = ahead.x + ahead.y + ahead.z + ahead.w;
  if (place < TOP_K) {
    routed_experts[place] = e;
    if (weigh) {
      let logit = router_logits[token * LOGITS_STRIDE + e];
      var weight = score(logit, logit);
      if (SHARES) {
        var sum = vec4<f32>(0.0);
        for (var q = 0u; q < end; q++) {
          let exists = vec4<u32>(q * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(EXPERTS);
          sum += select(vec4<f32>(0.0), exp(route_keys[q] - own), exists);
        }
        weight /= dot(sum, vec4<f32>(1.0));
      }
      routed_scores[place] = weight;
    }
  }
}

// Weight of a choice.
fn routed_weight(choice: u32) -> f32 {
  if (!RENORMALISE) {
    return routed_scores[choice] * SCALE;
  }
  var sum = 0.0;
  for (var i = 0u; i < TOP_K; i++) {
    sum += routed_scores[i];
  }
  return routed_scores[choice] * SCALE / max(sum, 1e-20);
}
