// Staged compressed weights in memory of their own.
const LD_W: u32 = LD * 2u;  // elements of ws from one staged row to the next
const STEP_W: u32 = 4u;     // elements of ws that hold 16 columns

var<workgroup> ws: array<vec2<u32>, ROWS * LD_W>;

// Eight columns into block `at`, of which the second four come first where `turned` is 1.
fn keep_quads(at: u32, b: vec4<u32>, turned: u32) {
  ws[at * 2u + turned] = b.xy;
  ws[at * 2u + (turned + 1u) % 2u] = b.zw;
}
