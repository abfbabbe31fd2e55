// How moe_down walks the columns of plain weights: blocks of 8 columns.
const ITEMS: u32 = SHARE_BLOCKS + TOP_K * BLOCKS;

// Adds to the sums of rows 0..3 (near) and 4..7 (far) the products of one block, of the shared expert or of a choice.
fn add_item(
  token: u32, item: u32, rows: array<u32, ROWS>, near: ptr<function, vec4<f32>>, far: ptr<function, vec4<f32>>,
) {
  if (item < SHARE_BLOCKS) {
    if (params.with_share != 0u) {
      let xb = load_share_x8(share_row(token), item);
      let row = params.row_begin;
      *near += vec4<f32>(
        dot8(load_share8(row + rows[0], item), xb), dot8(load_share8(row + rows[1], item), xb),
        dot8(load_share8(row + rows[2], item), xb), dot8(load_share8(row + rows[3], item), xb));
      *far += vec4<f32>(
        dot8(load_share8(row + rows[4], item), xb), dot8(load_share8(row + rows[5], item), xb),
        dot8(load_share8(row + rows[6], item), xb), dot8(load_share8(row + rows[7], item), xb));
    }
    return;
  }
  let choice = (item - SHARE_BLOCKS) / BLOCKS;
  let expert = routed_experts[choice];
  if (held(expert)) {
    let block = (item - SHARE_BLOCKS) % BLOCKS;
    var wb = load_rows8(buffer_of(expert - params.expert_begin), rows_of(expert, rows), block);
    let xb = load_x8(token * X_EACH + choice, block);
    let weight = routed_weight(choice);
    *near += weight * vec4<f32>(dot8(wb[0], xb), dot8(wb[1], xb), dot8(wb[2], xb), dot8(wb[3], xb));
    *far += weight * vec4<f32>(dot8(wb[4], xb), dot8(wb[5], xb), dot8(wb[6], xb), dot8(wb[7], xb));
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
