// Products of units of compressed weights with x. The kernel gives ROWS and TOKENS; load_x4 is in the walk over units.

// Adds the products of a unit of each row with the rows of x to `sums` [TOKENS, ROWS], and the squares of x, where there
// is a norm, to `squares`.
fn add_unit(
  unit: u32,
  units: ptr<function, array<Unit, ROWS>>,
  x_rows: ptr<function, array<u32, TOKENS>>,
  sums: ptr<function, array<f32, TOKENS * ROWS>>,
  squares: ptr<function, array<vec4<f32>, SQUARES>>,
) {
  let turn = unit * 8u + unit % 8u;
  // Which half of the columns the first four slots hold.
  let turned = unit % 8u >= 4u;
  for (var half = 0u; half < 2u; half++) {
    // Explicit, because a variable of a loop without a value may keep that of the round before.
    var raw = array<f32, TOKENS * ROWS>();
    var x_sums = array<vec4<f32>, TOKENS>();
    for (var j = half * 2u; j < half * 2u + 2u; j++) {
      var blocks: array<Block8, ROWS>;
      for (var r = 0u; r < ROWS; r++) {
        blocks[r] = raw8((*units)[r], j);
      }
      for (var t = 0u; t < TOKENS; t++) {
        let quad = turn ^ (j * 2u);
        let near = load_x4((*x_rows)[t], quad);
        let far = load_x4((*x_rows)[t], quad ^ 1u);
        let x_near = norm_x4(near, quad);
        let x_far = norm_x4(far, quad ^ 1u);
        for (var r = 0u; r < ROWS; r++) {
          raw[t * ROWS + r] = add4(raw[t * ROWS + r], blocks[r].lo, x_near);
          raw[t * ROWS + r] = add4(raw[t * ROWS + r], blocks[r].hi, x_far);
        }
        x_sums[t] += x_near + x_far;
        if (NORMED) {
          (*squares)[t / 4u][t % 4u] += dot(near, near) + dot(far, far);
        }
      }
    }
    let second = HALVES && (half == 1u) != turned;
    for (var t = 0u; t < TOKENS; t++) {
      let x_sum = dot(x_sums[t], vec4<f32>(1.0));
      for (var r = 0u; r < ROWS; r++) {
        let scale = select((*units)[r].scale.x, (*units)[r].scale.y, second);
        let shift = select((*units)[r].shift.x, (*units)[r].shift.y, second);
        var levels = raw[t * ROWS + r] - OFFSET * x_sum;
        if (ZEROS) {
          levels -= shift * x_sum;
        }
        (*sums)[t * ROWS + r] += scale * levels;
        if (SHIFTED) {
          (*sums)[t * ROWS + r] += shift * x_sum;
        }
      }
    }
  }
}
