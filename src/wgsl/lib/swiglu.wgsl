// silu(gate) * up.
// --- specialised ---
const LIMIT: f32 = 0.0;  // bounds silu(gate) above, and up on both sides; 0 = no bound

fn swiglu(gate: f32, up: f32) -> f32 {
  let silu = gate / (1.0 + exp(-gate));
  if (LIMIT > 0.0) {
    return min(silu, LIMIT) * clamp(up, -LIMIT, LIMIT);
  }
  return silu * up;
}
