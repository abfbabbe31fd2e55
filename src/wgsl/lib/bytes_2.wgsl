// Weights of 2 bits as bytes.
const BYTES_FACTOR: f32 = 1.0;
const BYTES_OFFSET: f32 = OFFSET - 4.0;
const WHOLE_QUADS: bool = false;
const FEW_WORDS: bool = true;

fn bytes_near(u: Unit) -> vec4<u32> {
  let v = vec4<u32>(u.lo.x, u.lo.x >> 8u, u.lo.y, u.lo.y >> 8u);
  return (v & vec4<u32>(0x00030003u)) | ((v << vec4<u32>(4u)) & vec4<u32>(0x03000300u));
}

fn bytes_far(u: Unit) -> vec4<u32> {
  let v = vec4<u32>(u.lo.x, u.lo.x >> 8u, u.lo.y, u.lo.y >> 8u);
  return ((v >> vec4<u32>(2u)) & vec4<u32>(0x00030003u)) | ((v << vec4<u32>(2u)) & vec4<u32>(0x03000300u));
}
