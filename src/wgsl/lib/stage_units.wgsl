// Staging of compressed weights: units of 32 columns, decoded when they are staged. Scales apply in f32, so that a weight is
// rounded to binary16 once. Quad q of unit i (four columns) is in slot q ^ (i % 8), and is stored where its columns belong.
// Library files give load_words, unit_of and weights8 (units, weight_*), and keep_quads (units_apart, units_behind).
const UNITS: u32 = DEPTH / 32u;           // of a staged row
const W_LOADS: u32 = ROWS * UNITS / WG;

const_assert ROWS * UNITS % WG == 0u;
const_assert WG % UNITS == 0u;

// What an invocation fetches for a round, and the rows of w that it lies in.
alias Weights = array<Words, W_LOADS>;
alias Rows = array<u32, W_LOADS>;

fn rows_of(base: u32, first: u32, li: u32) -> Rows {
  var rows: Rows;
  for (var j = 0u; j < W_LOADS; j++) {
    rows[j] = base + min(first + (li + j * WG) / UNITS, params.row_count - 1u);
  }
  return rows;
}

fn fetch_w(v: ptr<function, Weights>, rows: ptr<function, Rows>, li: u32, block: u32) {
  for (var j = 0u; j < W_LOADS; j++) {
    (*v)[j] = load_words(0u, K, (*rows)[j], block / 4u + li % UNITS);
  }
}

fn stage_w(v: ptr<function, Weights>, invocation: u32, block: u32) {
  let li = invocation % WG;
  let unit = block / 4u + li % UNITS;
  let present = WHOLE || unit * 4u < BLOCKS;
  let turn = unit % 8u;
  for (var j = 0u; j < W_LOADS; j++) {
    let begin = (li + j * WG) / UNITS * LD + li % UNITS * 4u;
    let ready = ready_unit((*v)[j], unit);
    for (var i = 0u; i < 4u; i++) {
      let b = select(vec4<u32>(0u), halves8(ready, i, turn), present);
      keep_quads(begin + (i ^ (turn / 2u)) % 4u, b, turn % 2u);
    }
  }
}

struct Ready {
  u: Unit,
  large: bool,  // whether weights may lie beyond the range of binary16
}

fn ready_unit(v: Words, unit: u32) -> Ready {
  let u = unit_of(v, unit);
  let scale = abs(u.scale);
  let shift = abs(u.shift);
  return Ready(u, max(scale.x, scale.y) * REACH + max(shift.x, shift.y) > 65504.0);
}

// The weights of slots 2i and 2i + 1 as binary16. Those beyond its range become its largest, so that one outlier does not
// turn a whole result into infinity.
fn halves8(r: Ready, i: u32, turn: u32) -> vec4<u32> {
  var b = weights8(r.u, i, HALVES && (i ^ (turn / 2u)) >= 2u);
  if (r.large) {
    let most = vec4<f32>(65504.0);
    b = Block8(clamp(b.lo, -most, most), clamp(b.hi, -most, most));
  }
  return vec4<u32>(
    pack2x16float(b.lo.xy), pack2x16float(b.lo.zw), pack2x16float(b.hi.xy), pack2x16float(b.hi.zw));
}
