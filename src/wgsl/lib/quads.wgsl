// A unit of each of four rows of one buffer, as words and as integers with scales. All loads are under one branch, so that
// they are under way together.
struct WordsQuad {
  a: Words,
  b: Words,
  c: Words,
  d: Words,
}

struct UnitQuad {
  a: Unit,
  b: Unit,
  c: Unit,
  d: Unit,
}

fn load_quad(buffer: u32, cols: u32, rows: vec4<u32>, unit: u32) -> WordsQuad {
  if (BUFFERS > 1u && buffer == 1u) {
    return quad_in(1u, cols, rows, unit);
  }
  if (BUFFERS > 2u && buffer == 2u) {
    return quad_in(2u, cols, rows, unit);
  }
  if (BUFFERS > 3u && buffer == 3u) {
    return quad_in(3u, cols, rows, unit);
  }
  if (BUFFERS > 4u && buffer == 4u) {
    return quad_in(4u, cols, rows, unit);
  }
  return quad_in(0u, cols, rows, unit);
}

// The same of a source that fetch knows.
fn quad_in(source: u32, cols: u32, rows: vec4<u32>, unit: u32) -> WordsQuad {
  return WordsQuad(
    load_words(source, cols, rows.x, unit), load_words(source, cols, rows.y, unit),
    load_words(source, cols, rows.z, unit), load_words(source, cols, rows.w, unit));
}

fn units_of_quad(w: WordsQuad, unit: u32) -> UnitQuad {
  return UnitQuad(unit_of(w.a, unit), unit_of(w.b, unit), unit_of(w.c, unit), unit_of(w.d, unit));
}
