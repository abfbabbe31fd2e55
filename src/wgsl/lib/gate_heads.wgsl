// Every head's result is multiplied with the sigmoid of a number that was projected from the layer's input.
// --- specialised ---
const GATE_STRIDE: u32 = 64u;  // elements of a row of the fused projection
const GATE_AT: u32 = 32u;      // where the gates of its heads start

@group(0) @binding(9) var<storage, read> gates: array<f32>;  // [tokens, GATE_STRIDE]

fn gate(token: u32, head: u32) -> f32 {
  return 1.0 / (1.0 + exp(-gates[token * GATE_STRIDE + GATE_AT + head]));
}
