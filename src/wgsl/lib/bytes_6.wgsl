// Weights of 6 bits, in planes of 4 and 2, as bytes.
const BYTES_FACTOR: f32 = 1.0;
const BYTES_OFFSET: f32 = OFFSET - 64.0;
const WHOLE_QUADS: bool = false;
const FEW_WORDS: bool = false;

fn bytes_near(u: Unit) -> vec4<u32> {
  let v = (u.lo >> vec4<u32>(2u)) & vec4<u32>(0x0f0f0f0fu);
  let h = vec4<u32>(u.hi.x, u.hi.x >> 8u, u.hi.y, u.hi.y >> 8u);
  return v | ((h << vec4<u32>(4u)) & vec4<u32>(0x00300030u)) | ((h << vec4<u32>(8u)) & vec4<u32>(0x30003000u));
}

fn bytes_far(u: Unit) -> vec4<u32> {
  let v = ((u.lo >> vec4<u32>(6u)) | (u.lo << vec4<u32>(26u))) & vec4<u32>(0x0f0f0f0fu);
  let h = vec4<u32>(u.hi.x, u.hi.x >> 8u, u.hi.y, u.hi.y >> 8u);
  return v | ((h << vec4<u32>(2u)) & vec4<u32>(0x00300030u)) | ((h << vec4<u32>(6u)) & vec4<u32>(0x30003000u));
}
