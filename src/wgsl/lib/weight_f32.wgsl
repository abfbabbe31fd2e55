// Weights [rows, BLOCKS * 8] as 32-bit floats: a block of 8 is two 128-bit loads.
// The kernel gives BLOCKS, the blocks of a row.
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;

struct Block8 {
  lo: vec4<f32>,
  hi: vec4<f32>,
}

// 128-bit loads of a block, for kernels that read a second matrix of this format.
const BLOCK_LOADS: u32 = 2u;

// The weights of a block, from its first and its last load.
fn decode8(v: vec4<u32>, last: vec4<u32>) -> Block8 {
  return Block8(bitcast<vec4<f32>>(v), bitcast<vec4<f32>>(last));
}

fn load_weight8(row: u32, block: u32) -> Block8 {
  let at = (row * BLOCKS + block) * BLOCK_LOADS;
  return decode8(w[at], w[at + 1u]);
}
