// sums[i] = xor of every word of x that invocation i reads: how fast memory, or a cache, can be read at all.
// All invocations walk x together, one vec4 each, four loads in flight, ROUNDS times over. In each round they are moved on
// by SHIFT, so that no invocation reads what it read before: caches nearer than those that all invocations share do not
// help, and buffers that fit into a shared cache are read from there.
//
// --- specialised ---
const VECTORS: u32 = 1024u;  // vec4s in x
const GROUPS: u32 = 4u;      // workgroups of the dispatch
const ROUNDS: u32 = 1u;      // times that x is read
const SHIFT: u32 = 0u;       // invocations that a round is moved on by

const WG: u32 = 256u;
const STRIDE: u32 = GROUPS * WG;

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;         // [VECTORS]
@group(0) @binding(1) var<storage, read_write> sums: array<u32>;  // [STRIDE]

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  var a = vec4<u32>();
  var b = vec4<u32>();
  for (var round = 0u; round < ROUNDS; round++) {
    var i = (id.x + round * SHIFT) % STRIDE;
    for (; i + 3u * STRIDE < VECTORS; i += 4u * STRIDE) {
      let x0 = x[i];
      let x1 = x[i + STRIDE];
      let x2 = x[i + 2u * STRIDE];
      let x3 = x[i + 3u * STRIDE];
      a ^= x0 ^ x1;
      b ^= x2 ^ x3;
    }
    for (; i < VECTORS; i += STRIDE) {
      a ^= x[i];
    }
  }
  let c = a ^ b;
  sums[id.x] = c.x ^ c.y ^ c.z ^ c.w;
}
