// How matvec walks the columns of plain weights: a lane takes blocks of 8 columns. For one token it keeps four sums a row,
// which shortens their chains; for more, one for each token and row, which leaves registers for more loads under way.
// --- specialised ---
const AHEAD: u32 = 1u;  // blocks of a lane that are under way at a time

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
  for (var first = begin; first < BLOCKS; first += AHEAD * step) {
    var wb: array<array<Block8, ROWS>, AHEAD>;
    for (var i = 0u; i < AHEAD; i++) {
      wb[i] = load_rows8(buffer, *rows, min(first + i * step, BLOCKS - 1u));
    }
    for (var t = 0u; t < TOKENS; t++) {
      var raw: array<Block8, AHEAD>;
      var xb: array<Block8, AHEAD>;
      for (var i = 0u; i < AHEAD; i++) {
        let block = min(first + i * step, BLOCKS - 1u);
        raw[i] = load_x8((*x_rows)[t], block);
        xb[i] = norm_x(raw[i], block);
      }
      for (var i = 0u; i < AHEAD; i++) {
        if (first + i * step < BLOCKS) {
          for (var r = 0u; r < ROWS; r++) {
            if (TOKENS == 1u) {
              (*sums)[r] += wb[i][r].lo * xb[i].lo;
              (*sums)[r] += wb[i][r].hi * xb[i].hi;
            } else {
              own[t * ROWS + r] += dot8(wb[i][r], xb[i]);
            }
          }
          if (NORMED) {
            (*squares)[t / 4u][t % 4u] += dot8(raw[i], raw[i]);
          }
        }
      }
    }
  }
  if (TOKENS > 1u) {
    for (var i = 0u; i < TOKENS * ROWS; i++) {
      (*sums)[i].x = own[i];
    }
  }
}
