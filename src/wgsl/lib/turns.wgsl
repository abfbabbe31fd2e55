// Rotary angles without loss at large positions. Frequencies are 64-bit binary fractions of a turn, so that
// position * frequency modulo one turn is exact integer arithmetic; sine and cosine are then polynomials on an eighth
// of a turn. WGSL's own sin and cos promise only 2^-11, and nothing outside [-pi, pi].

// Upper 32 bits of a * b.
fn mul_high(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let low = a0 * b0;
  let mid = a1 * b0 + (low >> 16u);
  let cross = a0 * b1 + (mid & 0xffffu);
  return a1 * b1 + (mid >> 16u) + (cross >> 16u);
}

// (sin, cos) of position * frequency, where frequency = (high, low) is a fraction of a turn in units of 2^-64.
fn rotation(position: u32, frequency: vec2<u32>) -> vec2<f32> {
  let turns = position * frequency.x + mul_high(position, frequency.y);
  let quadrant = (turns + 0x20000000u) >> 30u;
  let rest = bitcast<i32>(turns - (quadrant << 30u));  // within an eighth of a turn around the quadrant's axis
  let r = f32(rest) * 1.4629180792671596e-9;           // 2 pi / 2^32
  let r2 = r * r;
  let s = r * (1.0 + r2 * (-0.16666667 + r2 * (0.008333334 + r2 * (-0.00019841270 + r2 * 2.7557319e-6))));
  let c = 1.0 + r2 * (-0.5 + r2 * (0.041666668 + r2 * (-0.0013888889 + r2 * (2.4801587e-5 - r2 * 2.755732e-7))));
  switch (quadrant & 3u) {
    case 0u: { return vec2<f32>(s, c); }
    case 1u: { return vec2<f32>(c, -s); }
    case 2u: { return vec2<f32>(-s, -c); }
    default: { return vec2<f32>(-c, s); }
  }
}
