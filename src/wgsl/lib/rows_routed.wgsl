// Tile of a mixture of experts for few tokens: a single (token, choice) pair, whose expert is found from the router
// logits on the spot (route_token), so that nothing has to be routed or grouped before. TOKENS is 1.
// --- specialised ---
const SHARED_ROWS: u32 = 0u;  // of a shared expert: expert EXPERTS, and the last item of each token; 0 = there is none

const WITH_SHARED: bool = SHARED_ROWS > 0u;
const UNEVEN: bool = WITH_SHARED;
const EACH: u32 = TOP_K + select(0u, 1u, WITH_SHARED);  // items of a token

struct Item {
  valid: bool,
  x_row: u32,
  y_row: u32,
}

// Which item of its token a tile is. The shared expert's comes first: nothing has to be chosen for it, so that its weights are
// on their way while other workgroups choose.
fn choice_of(tile: u32) -> u32 {
  return select(tile, tile + TOP_K, WITH_SHARED) % EACH;
}

fn tile_expert(tile: u32) -> u32 {
  let choice = choice_of(tile);
  if (WITH_SHARED && choice == TOP_K) {
    return EXPERTS;
  }
  route_token(tile / EACH, false);
  return workgroupUniformLoad(&routed_experts[choice]);
}

fn tile_rows(expert: u32) -> u32 {
  return select(params.row_count, SHARED_ROWS, WITH_SHARED && expert == EXPERTS);
}

fn tile_item(tile: u32, i: u32) -> Item {
  return Item(i == 0u, tile / EACH, tile - tile % EACH + choice_of(tile));
}
