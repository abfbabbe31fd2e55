// Four e4m3 numbers, each divided by 256: sign, exponent and mantissa moved to where binary16 has them (e4m3 has an
// exponent bias of 7, binary16 one of 15). Subnormal ones become subnormal in turn.
fn e4m3x4(v: u32) -> vec4<f32> {
  let even = v << 8u;
  let a = unpack2x16float(((even >> 1u) & 0x3f803f80u) | (even & 0x80008000u));
  let b = unpack2x16float(((v >> 1u) & 0x3f803f80u) | (v & 0x80008000u));
  return vec4<f32>(a.x, b.x, a.y, b.y);
}
