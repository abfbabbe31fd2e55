// Rows of e4m3 bytes with an f32 scale: the largest magnitude / 448, the largest e4m3 number, so that nothing overflows; a row
// of zeros has a scale of 1.

// The largest magnitude of four elements. As integers, magnitudes are in the same order, and NaN is above all: it ends up in the
// scale and does not get lost.
fn magnitude4(v: vec4<f32>) -> u32 {
  let m = bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
  return max(max(m.x, m.y), max(m.z, m.w));
}

// The scale of a row with that largest magnitude.
fn row_scale(most: u32) -> f32 {
  let quotient = bitcast<f32>(most) / 448.0;
  // Below the smallest normal number, which devices may take for 0, as for 0 itself.
  return select(quotient, 1.0, quotient < 1.1754944e-38);
}

// Four elements, multiplied with the inverse of their scale, as bytes: the nearest e4m3 numbers, ties to even, at most 448. Without branches
// and rounded by an addition, since attention that has a token's key and value fresh waits for it.
fn e4m3_word(row: vec4<f32>, inverse: f32) -> u32 {
  let v = row * inverse;
  let magnitude = abs(v);
  // Of a number of exponent e the last of three mantissa bits counts 2^(e - 3); below 2^-6, 2^-9. Added to 2^23 times as much, it
  // leaves the number of these in the sum's mantissa: 8 to 16, or 0 to 8.
  let exponent = max(bitcast<vec4<u32>>(magnitude) >> vec4<u32>(23u), vec4<u32>(121u));
  let sum = magnitude + bitcast<vec4<f32>>((exponent + 20u) << vec4<u32>(23u));
  let code = (exponent - 121u) * 8u + (bitcast<vec4<u32>>(sum) & vec4<u32>(0x7fffffu));
  let signed = min(code, vec4<u32>(0x7eu)) | ((bitcast<vec4<u32>>(v) >> vec4<u32>(24u)) & vec4<u32>(0x80u));
  return signed.x | (signed.y << 8u) | (signed.z << 16u) | (signed.w << 24u);
}
