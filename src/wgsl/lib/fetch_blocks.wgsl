// Weights of 16 bits on their way to be staged: blocks of eight columns. Library files give w (weight_*).
const W_LOADS: u32 = ROWS * STEPS / WG;

const_assert ROWS * STEPS % WG == 0u;

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
