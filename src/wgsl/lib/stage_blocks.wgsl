// Staging of weights of 16 bits: blocks of eight columns, as binary16. Library files give w and half8 (weight_*).
const W_LOADS: u32 = ROWS * STEPS / WG;
const LD_W: u32 = LD;     // elements of ws from one staged row to the next
const STEP_W: u32 = 2u;   // elements of ws that hold 16 columns

const_assert ROWS * STEPS % WG == 0u;

var<workgroup> ws: array<vec4<u32>, ROWS * LD_W>;

// What an invocation fetches for a round, and where it lies.
alias Weights = array<vec4<u32>, W_LOADS>;
alias Rows = array<u32, W_LOADS>;

fn rows_of(base: u32, first: u32, li: u32) -> Rows {
  var rows: Rows;
  for (var j = 0u; j < W_LOADS; j++) {
    rows[j] = (base + min(first + staged_row(li + j * WG), params.row_count - 1u)) * BLOCKS + li % STEPS;
  }
  return rows;
}

fn fetch_w(v: ptr<function, Weights>, rows: ptr<function, Rows>, li: u32, block: u32) {
  for (var j = 0u; j < W_LOADS; j++) {
    (*v)[j] = w[(*rows)[j] + block];
  }
}

fn stage_w(v: ptr<function, Weights>, invocation: u32, block: u32) {
  let li = invocation % WG;
  let present = WHOLE || block + li % STEPS < BLOCKS;
  for (var j = 0u; j < W_LOADS; j++) {
    ws[staged_row(li + j * WG) * LD_W + li % STEPS] = select(vec4<u32>(0u), half8((*v)[j]), present);
  }
}
