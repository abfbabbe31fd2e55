// Four e4m3 numbers, each divided by 256, as binary16: numbers 0 and 2 in x, 1 and 3 in y. Sign, exponent and mantissa move
// to where binary16 has them (e4m3 has an exponent bias of 7, binary16 one of 15). Subnormal ones become subnormal in turn.
fn e4m3_bits(v: u32) -> vec2<u32> {
  let even = v << 8u;
  return vec2<u32>(((even >> 1u) & 0x3f803f80u) | (even & 0x80008000u), ((v >> 1u) & 0x3f803f80u) | (v & 0x80008000u));
}

// The same in their order, as f32.
fn e4m3x4(v: u32) -> vec4<f32> {
  let bits = e4m3_bits(v);
  let a = unpack2x16float(bits.x);
  let b = unpack2x16float(bits.y);
  return vec4<f32>(a.x, b.x, a.y, b.y);
}
