// results[i] = sum of 16 chains of v = v * factor + offset: how fast f32 arithmetic can be at all.
// The chains are independent, so that one multiply-add can start while others are under way.
//
// --- specialised ---
const ROUNDS: u32 = 4u;  // multiply-adds of each chain

const WG: u32 = 256u;

struct Params {
  factor: f32,
  offset: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> results: array<f32>;  // [workgroups * WG]

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let factor = vec4<f32>(params.factor);
  let offset = vec4<f32>(params.offset);
  let start = f32(id.x % 256u) / 256.0;
  var a = vec4<f32>(start, start + 1.0, start + 2.0, start + 3.0);
  var b = a + 4.0;
  var c = a + 8.0;
  var d = a + 12.0;
  for (var round = 0u; round < ROUNDS; round++) {
    a = fma(a, factor, offset);
    b = fma(b, factor, offset);
    c = fma(c, factor, offset);
    d = fma(d, factor, offset);
  }
  let sum = (a + b) + (c + d);
  results[id.x] = (sum.x + sum.y) + (sum.z + sum.w);
}
