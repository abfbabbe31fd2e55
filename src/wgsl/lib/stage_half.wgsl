// Staging of weights of 16 bits (fetch_blocks), as binary16, behind x, from W0 on (multiply_half). Library files give half8 (weight_*).
fn stage_w(v: ptr<function, Weights>, invocation: u32, block: u32) {
  let li = invocation % WG;
  let present = WHOLE || block + li % STEPS < BLOCKS;
  for (var j = 0u; j < W_LOADS; j++) {
    xs[W0 + staged_row(li + j * WG) * LD + li % STEPS] = select(vec4<u32>(0u), half8((*v)[j]), present);
  }
}
