// Rows of weights that lie in one buffer, for kernels that hold a row's blocks in registers (row_of).
fn buffer_of(expert: u32) -> u32 {
  return 0u;
}

fn expert_in_buffer(expert: u32) -> u32 {
  return expert;
}

fn load_row(buffer: u32, row: u32) -> Blocks {
  return row_of(&w, row);
}
