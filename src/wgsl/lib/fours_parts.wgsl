// Results of a slice of the context, four columns at a time: unnormalised, with the maximum and the sum beside them, for mfa_combine.
@group(0) @binding(7) var<storage, read_write> part_o: array<vec4<f32>>;   // [tokens, splits, HEADS, D8]
@group(0) @binding(8) var<storage, read_write> part_ml: array<vec2<f32>>;  // [tokens, splits, HEADS] of (max, sum)

fn store_four(local: u32, split: u32, head: u32, four: u32, o: vec4<f32>, ml: vec2<f32>, gated: f32) {
  let at = (local * params.splits + split) * HEADS + head;
  part_o[at * (D8 / 4u) + four] = o;
  if (four == 0u) {
    part_ml[at] = ml;
  }
}
