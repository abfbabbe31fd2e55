// Tile of a mixture of experts for few tokens: a single (token, choice) pair, whose expert is found from the router
// logits on the spot (route_token), so that nothing has to be routed or grouped before. TOKENS is 1.
struct Item {
  valid: bool,
  x_row: u32,
  y_row: u32,
}

fn tile_expert(tile: u32) -> u32 {
  route_token(tile / TOP_K, false);
  return workgroupUniformLoad(&routed_experts[tile % TOP_K]);
}

fn tile_item(tile: u32, i: u32) -> Item {
  return Item(i == 0u, tile / TOP_K, tile);
}
