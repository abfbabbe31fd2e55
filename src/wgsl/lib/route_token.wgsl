// Choice of experts by the workgroup that needs them, straight from router logits: the TOP_K of largest keys (lower index
// first among equals), weighted by their scores. Shares are divided by the sum over all experts or, if RENORMALISE, all
// scores by the sum over the chosen ones; then weights are multiplied with SCALE.
// An invocation per expert counts how many are ahead of it. The kernel gives WG, the team file `invocation`, the library
// score_* keys and scores.
// --- specialised ---
const EXPERTS: u32 = 8u;          // moe_num_experts
const TOP_K: u32 = 2u;            // moe_top_k
const RENORMALISE: bool = false;  // norm_expert_weight
const SCALE: f32 = 1.0;           // moe_router_scaling_factor

const LOGITS_STRIDE: u32 = (EXPERTS + 7u) / 8u * 8u;

@group(0) @binding(5) var<storage, read> router_logits: array<f32>;  // [tokens, LOGITS_STRIDE]

var<workgroup> route_keys: array<f32, EXPERTS>;
var<workgroup> routed_experts: array<u32, TOP_K>;
var<workgroup> routed_scores: array<f32, TOP_K>;

// Fills routed_experts, and routed_scores (for routed_weight) if `weigh`. For uniform control flow.
fn route_token(token: u32, weigh: bool) {
  for (var e = invocation; e < EXPERTS; e += WG) {
    route_keys[e] = score_key(router_logits[token * LOGITS_STRIDE + e], e);
  }
  if (invocation < TOP_K) {
    routed_experts[invocation] = 0u;  // stays only where logits are NaN
  }
  workgroupBarrier();
  // Not a constant bound: drivers would unroll the loops.
  let end = min(EXPERTS, arrayLength(&router_logits));
  for (var e = invocation; e < EXPERTS; e += WG) {
    let own = route_keys[e];
    var ahead = 0u;
    for (var other = 0u; other < end; other++) {
      let key = route_keys[other];
      ahead += u32(key > own || (key == own && other < e));
    }
    if (ahead < TOP_K) {
      routed_experts[ahead] = e;
      if (weigh) {
        let logit = router_logits[token * LOGITS_STRIDE + e];
        var share = score(logit, logit);
        if (SHARES) {
          var sum = 0.0;
          for (var other = 0u; other < end; other++) {
            sum += score(route_keys[other], logit);
          }
          share /= sum;
        }
        routed_scores[ahead] = share;
      }
    }
  }
  workgroupBarrier();
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
