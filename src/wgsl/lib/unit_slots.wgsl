// x of a unit in registers, in the order of the slots of its weights. Every slot has a name: drivers put arrays that they
// fail to unroll into memory. The kernel gives load_x4; unit_floats or unit_bytes turns Slots into Own, what products need.
struct Slots {
  a: Block8,          // slots 0 and 1, normalised but for the scale of the row
  b: Block8,
  c: Block8,
  d: Block8,
  sums: vec2<f32>,    // of slots 0..3 and 4..7
  squares: f32,       // of x before the norm, where there is one
  turned: bool,       // whether slots 0..3 are columns 16..31
}

fn load_slots(source: u32, row: u32, unit: u32) -> Slots {
  let turn = unit * 8u + unit % 8u;
  let a = Block8(load_x4(source, row, turn), load_x4(source, row, turn ^ 1u));
  let b = Block8(load_x4(source, row, turn ^ 2u), load_x4(source, row, turn ^ 3u));
  let c = Block8(load_x4(source, row, turn ^ 4u), load_x4(source, row, turn ^ 5u));
  let d = Block8(load_x4(source, row, turn ^ 6u), load_x4(source, row, turn ^ 7u));
  var out: Slots;
  out.a = Block8(norm_x4(a.lo, turn), norm_x4(a.hi, turn ^ 1u));
  out.b = Block8(norm_x4(b.lo, turn ^ 2u), norm_x4(b.hi, turn ^ 3u));
  out.c = Block8(norm_x4(c.lo, turn ^ 4u), norm_x4(c.hi, turn ^ 5u));
  out.d = Block8(norm_x4(d.lo, turn ^ 6u), norm_x4(d.hi, turn ^ 7u));
  let one = vec4<f32>(1.0);
  out.sums = vec2<f32>(
    dot((out.a.lo + out.a.hi) + (out.b.lo + out.b.hi), one), dot((out.c.lo + out.c.hi) + (out.d.lo + out.d.hi), one));
  if (NORMED) {
    out.squares = dot(a.lo, a.lo) + dot(a.hi, a.hi) + dot(b.lo, b.lo) + dot(b.hi, b.hi) + dot(c.lo, c.lo)
      + dot(c.hi, c.hi) + dot(d.lo, d.lo) + dot(d.hi, d.hi);
  }
  out.turned = unit % 8u >= 4u;
  return out;
}

fn quad_dot(q: UnitQuad, own: Own) -> vec4<f32> {
  return vec4<f32>(unit_dot(q.a, own), unit_dot(q.b, own), unit_dot(q.c, own), unit_dot(q.d, own));
}

// The product of a unit of weights, from those of its integers, each `offset` too large, with slots 0..3 and 4..7.
fn scaled(u: Unit, raw: vec2<f32>, offset: f32, sums: vec2<f32>, turned: bool) -> f32 {
  if (HALVES) {
    let scale = select(u.scale, u.scale.yx, turned);
    let shift = select(u.shift, u.shift.yx, turned);
    var levels = raw - offset * sums;
    if (ZEROS) {
      levels -= shift * sums;
    }
    let sum = dot(scale, levels);
    if (SHIFTED) {
      return sum + dot(shift, sums);
    }
    return sum;
  }
  let total = sums.x + sums.y;
  var levels = raw.x + raw.y - offset * total;
  if (ZEROS) {
    levels -= u.shift.x * total;
  }
  if (SHIFTED) {
    return u.scale.x * levels + u.shift.x * total;
  }
  return u.scale.x * levels;
}
