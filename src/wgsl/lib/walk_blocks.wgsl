// How matvec walks the columns of plain weights: a lane takes blocks of 8 columns. For one token it keeps four sums a row,
// which shortens their chains; for more, one for each token and row, which leaves registers for more loads under way.
fn walk(
  buffer: u32,
  rows: ptr<function, array<u32, ROWS>>,
  x_rows: ptr<function, array<u32, TOKENS>>,
  begin: u32,
  step: u32,
  sums: ptr<function, array<vec4<f32>, TOKENS * ROWS>>,
  squares: ptr<function, array<vec4<f32>, SQUARES>>,
) {
  var own = array<f32, TOKENS * ROWS>();
  for (var next = begin; next < BLOCKS; next += step) {
    // Known to be in range, so that loads need no bounds checks: these nearly halve the speed of several tokens.
    let block = min(next, BLOCKS - 1u);
    var wb = load_rows8(buffer, *rows, block);
    for (var t = 0u; t < TOKENS; t++) {
      let raw = load_x8((*x_rows)[t], block);
      let xb = norm_x(raw, block);
      for (var r = 0u; r < ROWS; r++) {
        if (TOKENS == 1u) {
          (*sums)[r] += wb[r].lo * xb.lo;
          (*sums)[r] += wb[r].hi * xb.hi;
        } else {
          own[t * ROWS + r] += dot8(wb[r], xb);
        }
      }
      if (NORMED) {
        (*squares)[t / 4u][t % 4u] += dot8(raw, raw);
      }
    }
  }
  if (TOKENS > 1u) {
    for (var i = 0u; i < TOKENS * ROWS; i++) {
      (*sums)[i].x = own[i];
    }
  }
}
