// Rotary embedding of the results of a linear layer. The rows of a head alternate between its two halves (rows 2i and
// 2i + 1 are elements i and i + D/2), so that four neighbouring rows are two whole rotary pairs.
// --- specialised ---
const D: u32 = 16u;  // head_dim, all of it rotated, a multiple of 4; heads are padded to D8

const D8: u32 = (D + 7u) / 8u * 8u;

@group(0) @binding(10) var<storage, read> turns: array<vec2<f32>>;  // [tokens, D / 2] of (cos, sin)

// Elements (i, i + 1) in xy and (i + D/2, i + 1 + D/2) in zw of a rotated head, from its rows 2i .. 2i + 3.
fn turn_pairs(token: u32, i: u32, v: vec4<f32>) -> vec4<f32> {
  let a = turns[token * (D / 2u) + i];
  let b = turns[token * (D / 2u) + i + 1u];
  return vec4<f32>(
    v.x * a.x - v.y * a.y, v.z * b.x - v.w * b.y,
    v.y * a.x + v.x * a.y, v.w * b.x + v.z * b.y);
}
