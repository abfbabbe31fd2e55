// Entry point whose workgroup is cut into parts of 32 invocations that sum through workgroup memory: needs no feature of
// the adapter. The kernel gives WG, a multiple of 32, and run().

// local_invocation_index, for library files that are not handed it.
var<private> invocation: u32;

struct Part {
  index: u32,  // which part of the workgroup
  lane: u32,   // which member of the part
}

// Members of the smallest parts.
const PART_LEAST: u32 = 32u;

// Two turns, so that a call may write while others still read what the call before has written.
var<workgroup> part_scratch: array<vec4<f32>, 2u * WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) local_index: u32) {
  invocation = local_index;
  run(workgroup_id, Part(local_index / 32u, local_index % 32u), WG / 32u);
}

// The sum of component `lane` over the part, in its first four lanes. For uniform control flow; `turn` alternates between
// even and odd from call to call.
fn part_sum(v: vec4<f32>, turn: u32, part: Part) -> f32 {
  let begin = turn % 2u * WG;
  part_scratch[begin + invocation] = v;
  workgroupBarrier();
  var sum = 0.0;
  if (part.lane < 4u) {
    // Bounds that are not constant keep drivers from unrolling the loop.
    let start = begin + part.index * 32u;
    let end = start + 32u;
    for (var i = start; i < end; i++) {
      sum += part_scratch[i][part.lane];
    }
  }
  return sum;
}
