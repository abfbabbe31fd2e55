// How moe_down walks the columns of plain weights: blocks of 8 columns, of eight rows.
const_assert ROWS == 8u;
const ITEMS: u32 = SHARE_BLOCKS + TOP_K * BLOCKS;

// Adds the products of one block, of the shared expert or of a choice, to the sums of rows `first` .. first + 7.
fn add_item(token: u32, item: u32, first: u32, sums: ptr<function, Sums>) {
  let near = four_from(first);
  let far = four_from(first + 4u);
  if (item < SHARE_BLOCKS) {
    if (params.with_share != 0u) {
      let xb = load_share_x8(share_row(token), item);
      let row = params.row_begin;
      (*sums).a += vec4<f32>(
        dot8(load_share8(row + near.x, item), xb), dot8(load_share8(row + near.y, item), xb),
        dot8(load_share8(row + near.z, item), xb), dot8(load_share8(row + near.w, item), xb));
      (*sums).b += vec4<f32>(
        dot8(load_share8(row + far.x, item), xb), dot8(load_share8(row + far.y, item), xb),
        dot8(load_share8(row + far.z, item), xb), dot8(load_share8(row + far.w, item), xb));
    }
    return;
  }
  let choice = (item - SHARE_BLOCKS) / BLOCKS;
  let expert = routed_experts[choice];
  if (held(expert)) {
    let block = (item - SHARE_BLOCKS) % BLOCKS;
    let row = row_of(expert);
    let rows = array<u32, ROWS>(
      row + near.x, row + near.y, row + near.z, row + near.w, row + far.x, row + far.y, row + far.z, row + far.w);
    var wb = load_rows8(buffer_of(expert - params.expert_begin), rows, block);
    let xb = load_x8(token * X_EACH + choice, block);
    let weight = routed_weight(choice);
    (*sums).a += weight * vec4<f32>(dot8(wb[0], xb), dot8(wb[1], xb), dot8(wb[2], xb), dot8(wb[3], xb));
    (*sums).b += weight * vec4<f32>(dot8(wb[4], xb), dot8(wb[5], xb), dot8(wb[6], xb), dot8(wb[7], xb));
  }
}

fn load_share8(row: u32, block: u32) -> Block8 {
  let at = (row * SHARE_BLOCKS + block) * BLOCK_LOADS;
  return decode8(share_w[at], share_w[at + BLOCK_LOADS - 1u]);
}

fn load_share_x8(row: u32, block: u32) -> Block8 {
  let at = (row * (SHARE_STRIDE / 8u) + block) * 2u;
  let b = Block8(share_x[at], share_x[at + 1u]);
  if (SHARE_K % 8u != 0u && block + 1u == SHARE_BLOCKS) {
    return begin8(b, SHARE_K % 8u);
  }
  return b;
}
