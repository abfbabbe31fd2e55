// The largest logit of a row, from the whole row: logit_peaks has not looked for it.

// What an invocation knows of the row's best (key, token) before it has read anything.
fn known(row_index: u32, li: u32) -> vec2<u32> {
  return vec2<u32>(KEY_NAN, 0u);
}

// An invocation's share of the row's best (key, token).
fn own_best(row: Row, given: vec2<u32>, li: u32) -> vec2<u32> {
  let end = (params.vocab + 3u) / 4u;
  var own = given;
  for (var i = li; i < end; i += STEP) {
    var batch = load(row, i, WG, end);
    for (var at = i; at < min(i + STEP, end); at += WG) {
      own = better(own, best_of(row, at, batch.a));
      batch = Batch(batch.b, batch.c, batch.d, batch.d);
    }
  }
  return own;
}
