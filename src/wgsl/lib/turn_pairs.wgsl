// Rotary embedding of the results of a linear layer. The rows of a head alternate between its two halves (rows 2i and
// 2i + 1 are elements i and i + D/2), so that four neighbouring rows are two whole rotary pairs.
// --- specialised ---
const D: u32 = 16u;  // head_dim, all of it rotated, a multiple of 4; heads are padded to D8

const D8: u32 = (D + 7u) / 8u * 8u;

@group(0) @binding(10) var<storage, read> turns: array<vec2<f32>>;  // [tokens, D / 2] of (cos, sin)

// (cos, sin) of the pairs of rows r .. r + 3 of a head, or of its first rows where r is padding, which is not rotated.
fn turns_of(token: u32, r: u32) -> vec4<f32> {
  let i = token * (D / 2u) + select(0u, r / 2u, r < D);
  return vec4<f32>(turns[i], turns[i + 1u]);
}

// Elements (i, i + 1) in xy and (i + D/2, i + 1 + D/2) in zw of a rotated head, from its rows 2i .. 2i + 3.
fn turn_pairs(t: vec4<f32>, v: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(
    v.x * t.x - v.y * t.y, v.z * t.z - v.w * t.w,
    v.y * t.x + v.x * t.y, v.w * t.z + v.z * t.w);
}
