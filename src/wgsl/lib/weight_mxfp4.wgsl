// mxfp4: e2m1 numbers, and one exponent for 32.
const OFFSET: f32 = 0.0;
const REACH: f32 = 0.00018310546875;
const HALVES: bool = false;
const SHIFTED: bool = false;
const ZEROS: bool = false;

fn load_words(source: u32, cols: u32, row: u32, unit: u32) -> Words {
  let units = units_of(cols);
  let base = row * whole_row(units * 4u + (units + 3u) / 4u);
  let exponents = fetch_word(source, base + units * 4u + unit / 4u);
  return Words(fetch(source, base / 4u + unit), vec4<u32>(0u), vec4<u32>(exponents, 0u, 0u, 0u));
}

fn unit_of(w: Words, unit: u32) -> Unit {
  let exponent = (w.scales.x >> (8u * (unit % 4u))) & 255u;
  // The exponents of the two least scales would make subnormal floats; they count as zero.
  let scale = bitcast<f32>((max(exponent, 1u) - 1u) << 23u);
  return Unit(w.lo, w.hi, vec2<f32>(scale * 32768.0), vec2<f32>(0.0));
}

// e2m1 numbers twice, divided by 2^15: sign, exponent and mantissa moved to where binary16 has them.
fn e2m1x2(v: u32) -> u32 {
  return ((v << 12u) & 0x80008000u) | ((v << 9u) & 0x0e000e00u);
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let v = (u.lo[j] >> 2u) | (u.lo[j] << 30u);
  return pairs8(e2m1x2(v), e2m1x2(v >> 4u), e2m1x2(v >> 8u), e2m1x2(v >> 12u));
}
