// Staging of compressed weights: a piece is a unit of 32 columns, whose scales apply in f32, so that a weight is rounded to
// binary16 once.
const PIECE: u32 = 32u;
const TURNS: u32 = 8u;

struct Ready {
  unit: Unit,
  large: bool,  // whether weights may lie beyond the range of binary16
}

fn ready_piece(v: Words, piece: u32) -> Ready {
  let u = unit_of(v, piece);
  let scale = abs(u.scale);
  let shift = abs(u.shift);
  return Ready(u, max(scale.x, scale.y) * REACH + max(shift.x, shift.y) > 65504.0);
}

// The weights of slots 2i and 2i + 1. Those beyond the range of binary16 become its largest, so that one outlier does not
// turn a whole result into infinity.
fn piece8(r: Ready, i: u32, turn: u32) -> Block8 {
  let b = weights8(r.unit, i, HALVES && (i ^ (turn / 2u)) >= 2u);
  if (r.large) {
    let most = vec4<f32>(65504.0);
    return Block8(clamp(b.lo, -most, most), clamp(b.hi, -most, most));
  }
  return b;
}
