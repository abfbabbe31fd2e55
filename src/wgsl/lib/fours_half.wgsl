// Results of a whole context: attention's output as binary16 (half_four), four columns at a time.
@group(0) @binding(7) var<storage, read_write> attn: array<vec2<u32>>;  // [tokens, HEADS, D8]

fn store_four(local: u32, split: u32, head: u32, four: u32, o: vec4<f32>, ml: vec2<f32>, gated: f32) {
  attn[((params.token_begin + local) * HEADS + head) * (D8 / 4u) + four] = half_four(o / ml.y * gated);
}
