// A unit of each of four rows of one buffer. All loads are under one branch, so that they are under way together.
struct UnitQuad {
  a: Unit,
  b: Unit,
  c: Unit,
  d: Unit,
}

fn load_quad(buffer: u32, cols: u32, rows: vec4<u32>, unit: u32) -> UnitQuad {
  if (BUFFERS > 1u && buffer == 1u) {
    return quad_in(1u, cols, rows, unit);
  }
  if (BUFFERS > 2u && buffer == 2u) {
    return quad_in(2u, cols, rows, unit);
  }
  if (BUFFERS > 3u && buffer == 3u) {
    return quad_in(3u, cols, rows, unit);
  }
  return quad_in(0u, cols, rows, unit);
}

// The same of a source that fetch knows.
fn quad_in(source: u32, cols: u32, rows: vec4<u32>, unit: u32) -> UnitQuad {
  return UnitQuad(
    load_unit(source, cols, rows.x, unit), load_unit(source, cols, rows.y, unit),
    load_unit(source, cols, rows.z, unit), load_unit(source, cols, rows.w, unit));
}
