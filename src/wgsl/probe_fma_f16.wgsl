// results[i] = sum of 32 chains of v = v * factor + offset in binary16: how fast f16 arithmetic can be at all.
// The chains are independent, in vectors whose halves adapters may compute two at a time.
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
  let factor = vec4<f16>(f16(params.factor));
  let offset = vec4<f16>(f16(params.offset));
  let start = f16(f32(id.x % 256u) / 256.0);
  var a = vec4<f16>(start, start + 0.25h, start + 0.5h, start + 0.75h);
  var b = a + 1.0h;
  var c = a + 2.0h;
  var d = a + 3.0h;
  var e = a + 4.0h;
  var f = a + 5.0h;
  var g = a + 6.0h;
  var h = a + 7.0h;
  for (var round = 0u; round < ROUNDS; round++) {
    a = fma(a, factor, offset);
    b = fma(b, factor, offset);
    c = fma(c, factor, offset);
    d = fma(d, factor, offset);
    e = fma(e, factor, offset);
    f = fma(f, factor, offset);
    g = fma(g, factor, offset);
    h = fma(h, factor, offset);
  }
  let sum = vec4<f32>(a) + vec4<f32>(b) + vec4<f32>(c) + vec4<f32>(d) + vec4<f32>(e) + vec4<f32>(f) +
    vec4<f32>(g) + vec4<f32>(h);
  results[id.x] = (sum.x + sum.y) + (sum.z + sum.w);
}
