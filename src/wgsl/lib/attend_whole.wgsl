// Results of a whole context: attention's output.
@group(0) @binding(7) var<storage, read_write> attn: array<f32>;  // [tokens, HEADS, D8]

fn store_head(local: u32, split: u32, head: u32, column: u32, o: f32, ml: vec2<f32>, gated: f32) {
  attn[((params.token_begin + local) * HEADS + head) * D8 + column] = o / ml.y * gated;
}
