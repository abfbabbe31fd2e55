// A unit of each of several rows of one buffer. All loads are under one branch, so that they are under way together; what they
// have brought is decoded in one place. The kernel gives K and ROWS; library files BUFFERS (fetch_*), Words, load_words and
// unit_of (weight_*).
fn load_units(buffer: u32, rows: array<u32, ROWS>, unit: u32) -> array<Unit, ROWS> {
  let words = load_rows(buffer, rows, unit);
  var out = array<Unit, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    out[r] = unit_of(words[r], unit);
  }
  return out;
}

fn load_rows(buffer: u32, rows: array<u32, ROWS>, unit: u32) -> array<Words, ROWS> {
  if (BUFFERS > 1u && buffer == 1u) {
    return rows_in(1u, rows, unit);
  }
  if (BUFFERS > 2u && buffer == 2u) {
    return rows_in(2u, rows, unit);
  }
  if (BUFFERS > 3u && buffer == 3u) {
    return rows_in(3u, rows, unit);
  }
  if (BUFFERS > 4u && buffer == 4u) {
    return rows_in(4u, rows, unit);
  }
  return rows_in(0u, rows, unit);
}

// The same of a source that fetch knows.
fn rows_in(source: u32, rows: array<u32, ROWS>, unit: u32) -> array<Words, ROWS> {
  var out = array<Words, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    out[r] = load_words(source, K, rows[r], unit);
  }
  return out;
}
