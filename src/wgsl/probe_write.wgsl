// y[i] = seed xor i, in every word of a vec4: how fast memory can be written at all.
// All invocations walk y together, one vec4 each.
//
// --- specialised ---
const VECTORS: u32 = 1024u;  // vec4s in y
const GROUPS: u32 = 4u;      // workgroups of the dispatch

const WG: u32 = 256u;
const STRIDE: u32 = GROUPS * WG;

struct Params {
  seed: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;  // [VECTORS]

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  for (var i = id.x; i < VECTORS; i += STRIDE) {
    y[i] = vec4<u32>(params.seed ^ i);
  }
}
