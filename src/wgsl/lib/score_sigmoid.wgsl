// Experts are scored by the sigmoid of their logits, each for itself. A bias helps to choose them, but is no part of
// their weights: score and sum are kept apart, since a large bias would swallow the score's digits.
@group(0) @binding(16) var<storage, read> router_bias: array<f32>;  // [EXPERTS], padded to a multiple of 8

// Whether a score is a share, to be divided by the sum over all experts.
const SHARES: bool = false;

// Experts of larger keys come first.
fn score_key(logit: f32, expert: u32) -> f32 {
  return score(logit, 0.0) + router_bias[expert];
}

// Score before division.
fn score(logit: f32, near: f32) -> f32 {
  return 1.0 / (1.0 + exp(-logit));
}
