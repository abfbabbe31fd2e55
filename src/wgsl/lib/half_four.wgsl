// Four numbers as binary16. Those beyond its range become its largest, so that one outlier does not turn a whole result into
// infinity.
fn half_four(v: vec4<f32>) -> vec2<u32> {
  let b = clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0));
  return vec2<u32>(pack2x16float(b.xy), pack2x16float(b.zw));
}
