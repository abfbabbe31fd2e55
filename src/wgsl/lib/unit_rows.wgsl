// A unit of each of several rows of one buffer. All loads are under one branch, so that they are under way together.
fn load_units(buffer: u32, rows: array<u32, ROWS>, unit: u32) -> array<Unit, ROWS> {
  var out = array<Unit, ROWS>();
  switch (buffer) {
    case 0u: {
      for (var r = 0u; r < ROWS; r++) {
        out[r] = load_unit(0u, K, rows[r], unit);
      }
    }
    case 1u: {
      for (var r = 0u; r < ROWS; r++) {
        out[r] = load_unit(1u, K, rows[r], unit);
      }
    }
    case 2u: {
      for (var r = 0u; r < ROWS; r++) {
        out[r] = load_unit(2u, K, rows[r], unit);
      }
    }
    case 3u: {
      for (var r = 0u; r < ROWS; r++) {
        out[r] = load_unit(3u, K, rows[r], unit);
      }
    }
    default: {
      for (var r = 0u; r < ROWS; r++) {
        out[r] = load_unit(4u, K, rows[r], unit);
      }
    }
  }
  return out;
}
