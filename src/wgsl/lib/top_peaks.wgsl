// The largest logit of a row, from what logit_peaks found in its blocks.
@group(0) @binding(7) var<storage, read> peaks: array<vec2<u32>>;  // [rows, blocks] of (key, token)

// What an invocation knows of the row's best (key, token): that of a block, the last one where there are no more.
fn known(row_index: u32, li: u32) -> vec2<u32> {
  let count = ((params.vocab + 3u) / 4u + PEAK_BLOCK - 1u) / PEAK_BLOCK;
  return peaks[row_index * count + min(li, count - 1u)];
}

// An invocation's share of the row's best (key, token).
fn own_best(row: Row, given: vec2<u32>, li: u32) -> vec2<u32> {
  return given;
}
