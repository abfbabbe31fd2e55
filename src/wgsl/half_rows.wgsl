// y[row] = norm(x[row]) as binary16, what matrix units read: one workgroup per row. Padding columns are written as 0.
//
// Library files give load_x8 (x_blocks), norm_x (norm_*) and half_four.
//
// --- specialised ---
const K: u32 = 64u;         // width
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8

const BLOCKS: u32 = (K + 7u) / 8u;
const WG: u32 = 256u;
const EACH: u32 = (BLOCKS + WG - 1u) / WG;  // blocks of an invocation

struct Block8 {
  lo: vec4<f32>,
  hi: vec4<f32>,
}

struct Params {
  eps: f32,
  rows: u32,
  across: u32,  // rows in the first dimension of the grid, when they need both
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;        // [rows, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u32>>;  // [rows, BLOCKS * 8] of f16

var<workgroup> partial: array<f32, WG>;

// All of a row is asked for before anything waits, and stays in registers.
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let row = workgroup_id.y * params.across + workgroup_id.x;
  if (row >= params.rows) {
    return;
  }
  var own: array<Block8, EACH>;
  for (var i = 0u; i < EACH; i++) {
    own[i] = load_x8(row, min(i * WG + li, BLOCKS - 1u));
  }
  var scale = 1.0;
  if (NORMED) {
    var sum = 0.0;
    for (var i = 0u; i < EACH; i++) {
      if (i * WG + li < BLOCKS) {
        sum += dot8(own[i], own[i]);
      }
    }
    partial[li] = sum;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (li < half) {
        partial[li] += partial[li + half];
      }
    }
    workgroupBarrier();
    scale = norm_scale(partial[0]);
  }
  for (var i = 0u; i < EACH; i++) {
    let block = i * WG + li;
    if (block < BLOCKS) {
      let b = norm_x(own[i], block);
      y[row * BLOCKS + block] = vec4<u32>(half_four(b.lo * scale), half_four(b.hi * scale));
    }
  }
}
