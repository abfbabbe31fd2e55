// Weights of 4 bits as bytes, times 4, as which they stand in their plane.
const BYTES_FACTOR: f32 = 0.25;
const BYTES_OFFSET: f32 = OFFSET - 16.0;
const WHOLE_QUADS: bool = false;
const FEW_WORDS: bool = true;

fn bytes_near(u: Unit) -> vec4<u32> {
  return u.lo & vec4<u32>(0x3c3c3c3cu);
}

fn bytes_far(u: Unit) -> vec4<u32> {
  return ((u.lo >> vec4<u32>(4u)) | (u.lo << vec4<u32>(28u))) & vec4<u32>(0x3c3c3c3cu);
}
