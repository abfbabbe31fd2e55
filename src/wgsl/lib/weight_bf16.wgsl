// Weights [rows, BLOCKS * 8] as bfloat16, the upper half of an f32: a block of 8 is one 128-bit load.
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
  let even = bitcast<vec4<f32>>(v << vec4<u32>(16u));
  let odd = bitcast<vec4<f32>>(v & vec4<u32>(0xffff0000u));
  return Block8(vec4<f32>(even.x, odd.x, even.y, odd.y), vec4<f32>(even.z, odd.z, even.w, odd.w));
}

fn load_weight8(row: u32, block: u32) -> Block8 {
  let v = w[row * BLOCKS + block];
  return decode8(v, v);
}

// A block as binary16, rounded.
fn half8(v: vec4<u32>) -> vec4<u32> {
  let b = decode8(v, v);
  return vec4<u32>(
    pack2x16float(b.lo.xy), pack2x16float(b.lo.zw), pack2x16float(b.hi.xy), pack2x16float(b.hi.zw));
}
