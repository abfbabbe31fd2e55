// Routing of tokens to experts, a workgroup for each token: route_token chooses and weighs, this stores.
//
// --- specialised ---
const WG: u32 = 64u;  // invocations of a workgroup, at least TOP_K

@group(0) @binding(1) var<storage, read_write> expert_ids: array<u32>;      // [tokens, TOP_K]
@group(0) @binding(2) var<storage, read_write> expert_weights: array<f32>;  // [tokens, TOP_K]

// local_invocation_index, for route_token.
var<private> invocation: u32;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) local_index: u32) {
  invocation = local_index;
  let token = workgroup_id.x;
  route_token(token, true);
  if (local_index < TOP_K) {
    expert_ids[token * TOP_K + local_index] = routed_experts[local_index];
    expert_weights[token * TOP_K + local_index] = routed_weight(local_index);
  }
}
