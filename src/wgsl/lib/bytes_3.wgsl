// Weights of 3 bits, in planes of 2 and 1, as bytes.
const BYTES_FACTOR: f32 = 1.0;
const BYTES_OFFSET: f32 = OFFSET - 8.0;
const WHOLE_QUADS: bool = false;
const FEW_WORDS: bool = false;

fn bytes_near(u: Unit) -> vec4<u32> {
  let v = vec4<u32>(u.lo.x, u.lo.x >> 8u, u.lo.y, u.lo.y >> 8u);
  let h = vec4<u32>(u.hi.x, u.hi.x >> 4u, u.hi.x >> 8u, u.hi.x >> 12u);
  return (v & vec4<u32>(0x00030003u)) | ((v << vec4<u32>(4u)) & vec4<u32>(0x03000300u))
    | ((h << vec4<u32>(2u)) & vec4<u32>(0x00040004u)) | ((h << vec4<u32>(8u)) & vec4<u32>(0x04000400u));
}

fn bytes_far(u: Unit) -> vec4<u32> {
  let v = vec4<u32>(u.lo.x, u.lo.x >> 8u, u.lo.y, u.lo.y >> 8u);
  let h = vec4<u32>(u.hi.x, u.hi.x >> 4u, u.hi.x >> 8u, u.hi.x >> 12u);
  return ((v >> vec4<u32>(2u)) & vec4<u32>(0x00030003u)) | ((v << vec4<u32>(2u)) & vec4<u32>(0x03000300u))
    | ((h << vec4<u32>(1u)) & vec4<u32>(0x00040004u)) | ((h << vec4<u32>(7u)) & vec4<u32>(0x04000400u));
}
