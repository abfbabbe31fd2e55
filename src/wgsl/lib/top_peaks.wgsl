// The largest logit of a row, from what logit_peaks found in its blocks.
@group(0) @binding(7) var<storage, read> peaks: array<vec2<u32>>;  // [rows, blocks] of (key, token)

const MAX_PEAKS: u32 = 128u;  // of the largest vocabulary

var<workgroup> peak_keys: array<u32, MAX_PEAKS>;

// What an invocation knows of the row's best (key, token): that of a block, the last one where there are no more.
fn known(row_index: u32, li: u32) -> vec2<u32> {
  let count = ((params.vocab + 3u) / 4u + PEAK_BLOCK - 1u) / PEAK_BLOCK;
  return peaks[row_index * count + min(li, count - 1u)];
}

// An invocation's share of the row's best (key, token).
fn own_best(row: Row, given: vec2<u32>, li: u32) -> vec2<u32> {
  if (li < MAX_PEAKS) {
    peak_keys[li] = given.x;
  }
  return given;
}

// No key of the vectors from `begin` to `end` is larger; `top` is the row's largest.
fn bound(begin: u32, end: u32, top: u32) -> u32 {
  var most = KEY_NAN;
  for (var block = begin / PEAK_BLOCK; block * PEAK_BLOCK < end; block++) {
    most = max(most, peak_keys[block]);
  }
  return most;
}
