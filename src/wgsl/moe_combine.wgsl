// h[token] += sum over the token's choices of weight * (the expert's result), in the order of the choices.
//
// --- specialised ---
const K: u32 = 64u;     // hidden size; rows are padded to STRIDE
const TOP_K: u32 = 2u;  // moe_top_k

const STRIDE: u32 = (K + 7u) / 8u * 8u;

@group(0) @binding(1) var<storage, read> expert_weights: array<f32>;  // [tokens, TOP_K]
@group(0) @binding(2) var<storage, read> expert_out: array<f32>;      // [tokens * TOP_K, STRIDE]
@group(0) @binding(3) var<storage, read_write> h: array<f32>;         // [tokens, STRIDE]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let token = id.y;
  if (id.x >= K) {
    return;
  }
  var sum = 0.0;
  for (var i = 0u; i < TOP_K; i++) {
    let pair = token * TOP_K + i;
    sum += expert_weights[pair] * expert_out[pair * STRIDE + id.x];
  }
  h[token * STRIDE + id.x] += sum;
}
