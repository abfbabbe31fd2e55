// Staging of weights of 16 bits (fetch_blocks), as binary16, in an array of their own. Library files give half8 (weight_*).
const LD_W: u32 = LD;     // elements of ws from one staged row to the next
const STEP_W: u32 = 2u;   // elements of ws that hold 16 columns

var<workgroup> ws: array<vec4<u32>, ROWS * LD_W>;

fn stage_w(v: ptr<function, Weights>, invocation: u32, block: u32) {
  let li = invocation % WG;
  let present = WHOLE || block + li % STEPS < BLOCKS;
  for (var j = 0u; j < W_LOADS; j++) {
    ws[staged_row(li + j * WG) * LD_W + li % STEPS] = select(vec4<u32>(0u), half8((*v)[j]), present);
  }
}
