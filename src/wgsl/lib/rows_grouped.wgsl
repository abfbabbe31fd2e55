// Tile of a mixture of experts: up to TOKENS (token, choice) pairs that chose the same expert.
// Result row = the pair; x row = pair / PAIRS_PER_X (top_k when x holds tokens, 1 when it holds pairs).
// --- specialised ---
const PAIRS_PER_X: u32 = 1u;

@group(0) @binding(5) var<storage, read> tiles: array<vec4<u32>>;  // (expert, begin, count, 0); expert 0xffffffff = unused
@group(0) @binding(6) var<storage, read> pairs: array<u32>;        // pairs in the order of their experts

struct Item {
  valid: bool,
  x_row: u32,
  y_row: u32,
}

fn tile_expert(tile: u32) -> u32 {
  return tiles[tile].x;
}

fn tile_item(tile: u32, i: u32) -> Item {
  let t = tiles[tile];
  let pair = pairs[t.y + min(i, t.z - 1u)];
  return Item(i < t.z, pair / PAIRS_PER_X, pair);
}
