// Choice of experts by the workgroup that needs them, straight from router logits: the TOP_K largest (lower index first
// among equals), weighted by the softmax over all experts in f32, divided by the weights' sum only if RENORMALISE.
// An invocation per expert counts how many are ahead of it. The kernel gives WG, the team file `invocation`.
// --- specialised ---
const EXPERTS: u32 = 8u;          // moe_num_experts
const TOP_K: u32 = 2u;            // moe_top_k
const RENORMALISE: bool = false;  // norm_expert_weight

const LOGITS_STRIDE: u32 = (EXPERTS + 7u) / 8u * 8u;

@group(0) @binding(5) var<storage, read> router_logits: array<f32>;  // [tokens, LOGITS_STRIDE]

var<workgroup> route_logits: array<f32, EXPERTS>;
var<workgroup> routed_experts: array<u32, TOP_K>;
var<workgroup> routed_shares: array<f32, TOP_K>;

// Fills routed_experts, and routed_shares (for routed_weight) if `weigh`. For uniform control flow.
fn route_token(token: u32, weigh: bool) {
  for (var e = invocation; e < EXPERTS; e += WG) {
    route_logits[e] = router_logits[token * LOGITS_STRIDE + e];
  }
  if (invocation < TOP_K) {
    routed_experts[invocation] = 0u;  // stays only where logits are NaN
  }
  workgroupBarrier();
  // Not a constant bound: drivers would unroll the loops.
  let end = min(EXPERTS, arrayLength(&router_logits));
  for (var e = invocation; e < EXPERTS; e += WG) {
    let own = route_logits[e];
    var ahead = 0u;
    for (var other = 0u; other < end; other++) {
      let logit = route_logits[other];
      ahead += u32(logit > own || (logit == own && other < e));
    }
    if (ahead < TOP_K) {
      routed_experts[ahead] = e;
      if (weigh) {
        var sum = 0.0;
        for (var other = 0u; other < end; other++) {
          sum += exp(route_logits[other] - own);
        }
        routed_shares[ahead] = 1.0 / sum;
      }
    }
  }
  workgroupBarrier();
}

// Weight of a choice.
fn routed_weight(choice: u32) -> f32 {
  if (!RENORMALISE) {
    return routed_shares[choice];
  }
  var sum = 0.0;
  for (var i = 0u; i < TOP_K; i++) {
    sum += routed_shares[i];
  }
  return routed_shares[choice] / sum;
}
