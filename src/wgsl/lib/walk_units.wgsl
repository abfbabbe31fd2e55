// How matvec walks the columns of compressed weights: a lane takes units of 32 columns.
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
  for (var unit = begin; unit < (K + 31u) / 32u; unit += step) {
    var units = load_units(buffer, *rows, unit);
    add_unit(unit, &units, x_rows, &own, squares);
  }
  for (var i = 0u; i < TOKENS * ROWS; i++) {
    (*sums)[i].x = own[i];
  }
}

fn load_x4(row: u32, quad: u32) -> vec4<f32> {
  return begin4(x[row * (X_STRIDE / 4u) + quad], quad, K);
}
