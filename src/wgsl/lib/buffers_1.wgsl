// Weights of all rows in one buffer. The kernel gives ROWS; load_weight8 is in weight_*.
fn buffer_of(expert: u32) -> u32 {
  return 0u;
}

fn expert_in_buffer(expert: u32) -> u32 {
  return expert;
}

fn load_rows8(buffer: u32, rows: array<u32, ROWS>, block: u32) -> array<Block8, ROWS> {
  var out: array<Block8, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    out[r] = load_weight8(rows[r], block);
  }
  return out;
}
