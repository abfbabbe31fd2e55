// A unit of each of four rows of one of several buffers (quads). The kernel gives K and ROWS.
fn load_units(buffer: u32, rows: array<u32, ROWS>, unit: u32) -> array<Unit, ROWS> {
  let words = load_quad(buffer, K, vec4<u32>(rows[0], rows[1], rows[2], rows[3]), unit);
  let q = units_of_quad(words, unit);
  return array<Unit, ROWS>(q.a, q.b, q.c, q.d);
}
