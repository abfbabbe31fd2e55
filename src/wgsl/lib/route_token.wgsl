// Choice of experts by the workgroup that needs them, straight from router logits: the TOP_K of largest keys (lower index
// first among equals), weighted by their scores. Shares are divided by the sum over all experts or, if RENORMALISE, all
// scores by the sum over the chosen ones; then weights are multiplied with SCALE.
// An invocation per expert counts how many are ahead of it, four at a time. The kernel gives WG, the team file
// `invocation`, the library score_* keys and scores.
// --- specialised ---
const EXPERTS: u32 = 8u;          // moe_num_experts
const TOP_K: u32 = 2u;            // moe_top_k
const RENORMALISE: bool = false;  // norm_expert_weight
const SCALE: f32 = 1.0;           // moe_router_scaling_factor

const LOGITS_STRIDE: u32 = (EXPERTS + 7u) / 8u * 8u;

@group(0) @binding(5) var<storage, read> router_logits: array<f32>;  // [tokens, LOGITS_STRIDE]

const QUARTERS: u32 = (EXPERTS + 3u) / 4u;

var<workgroup> route_keys: array<vec4<f32>, QUARTERS>;
var<workgroup> routed_experts: array<u32, TOP_K>;
var<workgroup> routed_scores: array<f32, TOP_K>;

// Fills routed_experts, and routed_scores (for routed_weight) if `weigh`. For uniform control flow.
fn route_token(token: u32, weigh: bool) {
  for (var q = invocation; q < QUARTERS; q += WG) {
    var four = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i++) {
      let e = q * 4u + i;
      if (e < EXPERTS) {
        four[i] = score_key(router_logits[token * LOGITS_STRIDE + e], e);
      }
    }
    route_keys[q] = four;
  }
  if (invocation < TOP_K) {
    routed_experts[invocation] = 0u;  // stays only where logits are NaN
  }
  workgroupBarrier();
  // Not a constant bound: drivers would unroll the loops.
  let end = min(QUARTERS, arrayLength(&router_logits));
  for (var e = invocation; e < EXPERTS; e += WG) {
    let own = route_keys[e / 4u][e % 4u];
    var ahead = vec4<u32>(0u);
    for (var q = 0u; q < end; q++) {
      let keys = route_keys[q];
      let other = vec4<u32>(q * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
      let equal = (keys == vec4<f32>(own)) & (other < vec4<u32>(e));
      let leads = ((keys > vec4<f32>(own)) | equal) & (other < vec4<u32>(EXPERTS));
      ahead += select(vec4<u32>(0u), vec4<u32>(1u), leads);
    }
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
