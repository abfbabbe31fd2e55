// Attention's output.
@group(0) @binding(4) var<storage, read_write> attn: array<vec4<f32>>;  // [tokens, HEADS, D8]

fn store_attn(at: u32, o: vec4<f32>) {
  attn[at] = o;
}
