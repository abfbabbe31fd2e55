// Levels that 4-bit integers choose, from a table in workgroup memory: half of the instructions of computing them, for
// kernels whose time that is. The table has a column for each of 32 lanes, so that neighbours read different memory banks
// whatever they look up. The kernel gives WG and `invocation`.
const COLUMNS: u32 = 32u;

var<workgroup> levels: array<f32, 16u * COLUMNS>;

// Fills the table, before the first unit is decoded. For uniform control flow.
fn prepare_levels() {
  for (var i = invocation; i < 16u * COLUMNS; i += WG) {
    levels[i] = level_of(i / COLUMNS);
  }
  workgroupBarrier();
}

fn looked_up(n: u32) -> f32 {
  return levels[n % 16u * COLUMNS + invocation % COLUMNS];
}

fn raw8(u: Unit, j: u32) -> Block8 {
  let v = (u.lo[j] >> 2u) | (u.lo[j] << 30u);
  return Block8(
    vec4<f32>(looked_up(v), looked_up(v >> 4u), looked_up(v >> 8u), looked_up(v >> 12u)),
    vec4<f32>(looked_up(v >> 16u), looked_up(v >> 20u), looked_up(v >> 24u), looked_up(v >> 28u)),
  );
}
