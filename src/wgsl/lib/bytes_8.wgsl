// Weights of 8 bits as signed bytes.
const BYTES_FACTOR: f32 = 1.0;
const BYTES_OFFSET: f32 = OFFSET - 1152.0;
const WHOLE_QUADS: bool = true;
const FEW_WORDS: bool = false;

fn bytes_near(u: Unit) -> vec4<u32> {
  return vec4<u32>(u.lo.xz, u.hi.xz) ^ vec4<u32>(0x80808080u);
}

fn bytes_far(u: Unit) -> vec4<u32> {
  return vec4<u32>(u.lo.yw, u.hi.yw) ^ vec4<u32>(0x80808080u);
}
