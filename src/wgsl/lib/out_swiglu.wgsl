// Rows 2f and 2f + 1 of the weights are gate f and up f: y[row, f] = silu(gate) * up. n and count are even.
// --- specialised ---
const LIMIT: f32 = 0.0;  // bounds silu(gate) above, and up on both sides; 0 = no bound

fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  let at = row * params.y_stride + n / 2u;
  y[at] = swiglu(v.x, v.y);
  if (count > 2u) {
    y[at + 1u] = swiglu(v.z, v.w);
  }
}

fn swiglu(gate: f32, up: f32) -> f32 {
  let silu = gate / (1.0 + exp(-gate));
  if (LIMIT > 0.0) {
    return min(silu, LIMIT) * clamp(up, -LIMIT, LIMIT);
  }
  return silu * up;
}
