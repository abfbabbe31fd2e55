// y[i] = x[i], in vec4s: leaves activations behind as a kernel before would, fresh and spread over all compute units.

const WG: u32 = 64u;

struct Params {
  vectors: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;        // [vectors]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;  // [vectors]

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  for (var i = id.x; i < params.vectors; i += groups.x * WG) {
    y[i] = x[i];
  }
}
