// Experts are scored by the softmax of their logits.

// Whether scores are shares: exponentials of keys, to be divided by the sum over all experts.
const SHARES: bool = true;

// Experts of larger keys come first.
fn score_key(logit: f32, expert: u32) -> f32 {
  return logit;
}

// Score before division; `near`: a logit that is not far from the largest.
fn score(logit: f32, near: f32) -> f32 {
  return exp(logit - near);
}
