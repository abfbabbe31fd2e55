// Products of units with x as integers, in two or three planes of signed bytes with a scale for the unit: four products of
// bytes take one instruction, and their sums are exact. The error is that of rounding x to LARGEST steps of its largest in the
// unit: 23 bits, or 16 if ROUNDED. Needs the language feature packed_4x8_integer_dot_product.
//
// A bytes_* file gives bytes_near and bytes_far, the weights of a unit, the factor BYTES_FACTOR and the offset BYTES_OFFSET
// that they still need, WHOLE_QUADS, how they are spread: words j of near and far hold slots 2j and 2j + 1 or, if not
// WHOLE_QUADS, columns 0 and 2 of both, and 1 and 3 of both; and FEW_WORDS. The kernel gives ROUNDED.
struct Own {
  high_near: vec4<u32>,
  high_far: vec4<u32>,
  mid_near: vec4<u32>,  // none if ROUNDED
  mid_far: vec4<u32>,
  low_near: vec4<u32>,
  low_far: vec4<u32>,
  step: f32,          // of the integers
  sums: vec2<f32>,
  turned: bool,
}

// Largest integer. Its highest byte is 63 or 127, so that sums of 32 products with weights fit in any case.
const LARGEST: f32 = select(4128768.0, 32512.0, ROUNDED);

// Each byte but the highest is to have 128 added.
const HALF: u32 = select(0x8080u, 0x80u, ROUNDED);

// Whether the first words of weights are asked for before x is made ready: if registers are left.
const AHEAD: bool = ROUNDED || FEW_WORDS;

fn own_of(slots: Slots) -> Own {
  let large = max(
    max(max(abs(slots.a.lo), abs(slots.a.hi)), max(abs(slots.b.lo), abs(slots.b.hi))),
    max(max(abs(slots.c.lo), abs(slots.c.hi)), max(abs(slots.d.lo), abs(slots.d.hi))));
  let largest = max(max(max(large.x, large.y), max(large.z, large.w)), 1e-30);
  let inverse = LARGEST / largest;
  var own: Own;
  own.step = largest * (BYTES_FACTOR / LARGEST);
  own.sums = slots.sums;
  own.turned = slots.turned;
  let a = spread(integers(slots.a.lo, inverse), integers(slots.a.hi, inverse));
  let b = spread(integers(slots.b.lo, inverse), integers(slots.b.hi, inverse));
  let c = spread(integers(slots.c.lo, inverse), integers(slots.c.hi, inverse));
  let d = spread(integers(slots.d.lo, inverse), integers(slots.d.hi, inverse));
  if (ROUNDED) {
    own.high_near = plane(a.near, b.near, c.near, d.near, 8u);
    own.high_far = plane(a.far, b.far, c.far, d.far, 8u);
  } else {
    own.high_near = plane(a.near, b.near, c.near, d.near, 16u);
    own.high_far = plane(a.far, b.far, c.far, d.far, 16u);
    own.mid_near = plane(a.near, b.near, c.near, d.near, 8u) ^ vec4<u32>(0x80808080u);
    own.mid_far = plane(a.far, b.far, c.far, d.far, 8u) ^ vec4<u32>(0x80808080u);
  }
  own.low_near = plane(a.near, b.near, c.near, d.near, 0u) ^ vec4<u32>(0x80808080u);
  own.low_far = plane(a.far, b.far, c.far, d.far, 0u) ^ vec4<u32>(0x80808080u);
  return own;
}

// Integers with 128 added to each byte but the highest, which makes those signed bytes once it is taken off again.
// Adding 1.5 * 2^23 leaves a whole number in the mantissa.
fn integers(v: vec4<f32>, inverse: f32) -> vec4<u32> {
  return bitcast<vec4<u32>>(v * inverse + 12582912.0) + (HALF - 0x4b400000u);
}

struct Spread {
  near: vec4<u32>,
  far: vec4<u32>,
}

fn spread(even: vec4<u32>, odd: vec4<u32>) -> Spread {
  if (WHOLE_QUADS) {
    return Spread(even, odd);
  }
  return Spread(vec4<u32>(even.xz, odd.xz), vec4<u32>(even.yw, odd.yw));
}

fn plane(a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, bit: u32) -> vec4<u32> {
  let by = vec4<u32>(bit);
  return vec4<u32>(pack4xU8(a >> by), pack4xU8(b >> by), pack4xU8(c >> by), pack4xU8(d >> by));
}

fn unit_dot(u: Unit, own: Own) -> f32 {
  let near = bytes_near(u);
  let far = bytes_far(u);
  let high = dots(near, far, own.high_near, own.high_far);
  var mid = vec2<i32>(0i);
  if (!ROUNDED) {
    mid = dots(near, far, own.mid_near, own.mid_far);
  }
  let low = dots(near, far, own.low_near, own.low_far);
  var raw: vec2<f32>;
  if (HALVES) {
    raw = vec2<f32>(joined(high.x, mid.x, low.x), joined(high.y, mid.y, low.y));
  } else {
    raw.x = joined(high.x + high.y, mid.x + mid.y, low.x + low.y);
  }
  return scaled(u, raw * own.step, BYTES_OFFSET, own.sums, own.turned);
}

// Products with a plane, summed over slots 0..3 and 4..7.
fn dots(near: vec4<u32>, far: vec4<u32>, x_near: vec4<u32>, x_far: vec4<u32>) -> vec2<i32> {
  return vec2<i32>(
    dot4I8Packed(near.x, x_near.x) + dot4I8Packed(far.x, x_far.x)
      + dot4I8Packed(near.y, x_near.y) + dot4I8Packed(far.y, x_far.y),
    dot4I8Packed(near.z, x_near.z) + dot4I8Packed(far.z, x_far.z)
      + dot4I8Packed(near.w, x_near.w) + dot4I8Packed(far.w, x_far.w));
}

fn joined(high: i32, mid: i32, low: i32) -> f32 {
  if (ROUNDED) {
    return f32(high * 256i + low);
  }
  return f32(high * 256i + mid) * 256.0 + f32(low);
}
