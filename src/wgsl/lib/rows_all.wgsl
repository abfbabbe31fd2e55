// Tile of a dense layer: TOKENS consecutive rows of x, one result row each, a single weight matrix.
struct Item {
  valid: bool,
  x_row: u32,
  y_row: u32,
}

fn tile_expert(tile: u32) -> u32 {
  return 0u;
}

fn tile_item(tile: u32, i: u32) -> Item {
  let row = tile * TOKENS + i;
  return Item(row < params.tokens, min(row, params.tokens - 1u), row);
}
