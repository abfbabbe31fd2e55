// Tile of a dense layer over chosen rows of x: result row i is for x row picks[i] (only those that need logits).
@group(0) @binding(5) var<storage, read> picks: array<u32>;  // [params.tokens]

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
  return Item(row < params.tokens, picks[min(row, params.tokens - 1u)], row);
}
