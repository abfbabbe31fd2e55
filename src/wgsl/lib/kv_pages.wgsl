// Where the rows of an e4m3 KV cache lie, in words: a page holds [PAGE, KV_HEADS, D8] bytes, then the f32 scales
// [KV_HEADS, PAGE] of these rows. So rows begin at multiples of their size, and the scales that a head needs are neighbours.
const PAGE_ROWS: u32 = PAGE * KV_HEADS;
const ROW_WORDS: u32 = D8 / 4u;

fn kv_word(row: u32, c: u32) -> u32 {
  return row * ROW_WORDS + row / PAGE_ROWS * PAGE_ROWS + c;
}

fn kv_scale_word(row: u32) -> u32 {
  let page = row / PAGE_ROWS;
  let r = row % PAGE_ROWS;
  return (page * (ROW_WORDS + 1u) + ROW_WORDS) * PAGE_ROWS + r % KV_HEADS * PAGE + r / KV_HEADS;
}
