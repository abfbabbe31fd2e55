// Rows of weights of experts that lie in two buffers: the first BUFFER_EXPERTS in w, the next in w1, and so on; for kernels
// that hold a row's blocks in registers (row_of).
// --- specialised ---
const BUFFER_EXPERTS: u32 = 1u;  // experts of each buffer but the last

@group(0) @binding(13) var<storage, read> w1: array<vec4<u32>>;

fn buffer_of(expert: u32) -> u32 {
  return expert / BUFFER_EXPERTS;
}

fn expert_in_buffer(expert: u32) -> u32 {
  return expert % BUFFER_EXPERTS;
}

fn load_row(buffer: u32, row: u32) -> Blocks {
  if (buffer == 1u) {
    return row_of(&w1, row);
  }
  return row_of(&w, row);
}
