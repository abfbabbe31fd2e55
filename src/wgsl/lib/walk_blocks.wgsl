// How matvec walks the columns of plain weights: a lane takes blocks of 8 columns.
fn walk(
  buffer: u32,
  rows: ptr<function, array<u32, ROWS>>,
  x_rows: ptr<function, array<u32, TOKENS>>,
  begin: u32,
  step: u32,
  sums: ptr<function, array<vec4<f32>, TOKENS * ROWS>>,
  squares: ptr<function, array<vec4<f32>, SQUARES>>,
) {
  for (var block = begin; block < BLOCKS; block += step) {
    var wb = load_rows8(buffer, *rows, block);
    for (var t = 0u; t < TOKENS; t++) {
      let raw = load_x8((*x_rows)[t], block);
      let xb = norm_x(raw, block);
      for (var r = 0u; r < ROWS; r++) {
        (*sums)[t * ROWS + r] += wb[r].lo * xb.lo;
        (*sums)[t * ROWS + r] += wb[r].hi * xb.hi;
      }
      if (NORMED) {
        (*squares)[t / 4u][t % 4u] += dot8(raw, raw);
      }
    }
  }
}
