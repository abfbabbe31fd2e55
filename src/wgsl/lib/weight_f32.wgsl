// Weights [rows, BLOCKS * 8] as 32-bit floats: a block of 8 is two 128-bit loads.
// The kernel gives BLOCKS, the blocks of a row.
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;

struct Block8 {
  lo: vec4<f32>,
  hi: vec4<f32>,
}

fn load_weight8(row: u32, block: u32) -> Block8 {
  let at = (row * BLOCKS + block) * 2u;
  return Block8(bitcast<vec4<f32>>(w[at]), bitcast<vec4<f32>>(w[at + 1u]));
}
