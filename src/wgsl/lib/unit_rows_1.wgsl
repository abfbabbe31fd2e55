// A unit of each of several rows of the only buffer.
fn load_units(buffer: u32, rows: array<u32, ROWS>, unit: u32) -> array<Unit, ROWS> {
  var out = array<Unit, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    out[r] = load_unit(0u, K, rows[r], unit);
  }
  return out;
}
