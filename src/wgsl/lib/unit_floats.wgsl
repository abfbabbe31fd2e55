// Products of units with x as floats.
alias Own = Slots;

// As floats x takes so many registers that words of weights beside it cost more than waiting for them.
const AHEAD: bool = false;

fn own_of(slots: Slots) -> Own {
  return slots;
}

fn unit_dot(u: Unit, own: Own) -> f32 {
  let a = raw8(u, 0u);
  let b = raw8(u, 1u);
  let c = raw8(u, 2u);
  let d = raw8(u, 3u);
  let near = add4(add4(0.0, a.lo, own.a.lo), b.lo, own.b.lo) + add4(add4(0.0, a.hi, own.a.hi), b.hi, own.b.hi);
  let far = add4(add4(0.0, c.lo, own.c.lo), d.lo, own.d.lo) + add4(add4(0.0, c.hi, own.c.hi), d.hi, own.d.hi);
  return scaled(u, vec2<f32>(near, far), OFFSET, own.sums, own.turned);
}
