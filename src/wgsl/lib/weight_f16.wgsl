// Weights [rows, BLOCKS * 8] as binary16, decoded without the shader-f16 feature: a block of 8 is one 128-bit load.
// The kernel gives BLOCKS, the blocks of a row.
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;

struct Block8 {
  lo: vec4<f32>,
  hi: vec4<f32>,
}

// 128-bit loads of a block, for kernels that read a second matrix of this format.
const BLOCK_LOADS: u32 = 1u;

// The weights of a block, from its first and its last load.
fn decode8(v: vec4<u32>, last: vec4<u32>) -> Block8 {
  return Block8(
    vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)),
    vec4<f32>(unpack2x16float(v.z), unpack2x16float(v.w)),
  );
}

fn load_weight8(row: u32, block: u32) -> Block8 {
  let v = w[row * BLOCKS + block];
  return decode8(v, v);
}

// A block as binary16, which it is.
fn half8(v: vec4<u32>) -> vec4<u32> {
  return v;
}
