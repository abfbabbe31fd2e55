// RMSNorm folded into a linear layer: W (g * x / rms(x)) = (W (g * x)) / rms(x), so that the sum of squares is gathered
// while x is read for the product anyway, and no normalised copy of x is written.
@group(0) @binding(4) var<storage, read> gamma: array<vec4<f32>>;  // [BLOCKS * 8]

const NORMED: bool = true;

fn norm_x(x: Block8, block: u32) -> Block8 {
  return Block8(x.lo * gamma[block * 2u], x.hi * gamma[block * 2u + 1u]);
}

// Gamma beyond the last column is zero, and may not be there at all beyond a block of 8.
fn norm_x4(x: vec4<f32>, quad: u32) -> vec4<f32> {
  return x * gamma[min(quad, BLOCKS * 2u - 1u)];
}

fn norm_scale(sum_of_squares: f32) -> f32 {
  return inverseSqrt(sum_of_squares / f32(K) + params.eps);
}
