// All experts, or the single weight matrix, have the rows of w that the call says.
const UNEVEN: bool = false;  // whether experts differ in how many rows of w they have

fn tile_rows(expert: u32) -> u32 {
  return params.row_count;
}
