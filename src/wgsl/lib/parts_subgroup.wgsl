// Entry point whose workgroup is cut into parts that sum through subgroup operations: a subgroup each or, of larger ones,
// 32 neighbours. The kernel gives WG, a multiple of 32, and run().
//
// --- specialised ---
const PART_LEAST: u32 = 4u;  // members of the smallest parts

// local_invocation_index, for library files that are not handed it.
var<private> invocation: u32;

struct Part {
  index: u32,  // which part of the workgroup
  lane: u32,   // which member of the part
  size: u32,   // members, PART_LEAST to 32
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) local_index: u32,
  @builtin(subgroup_id) subgroup_id: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(num_subgroups) count: u32,
) {
  invocation = local_index;
  let each = max(size / 32u, 1u);
  run(workgroup_id, Part(subgroup_id * each + lane / 32u, lane % 32u, min(size, 32u)), min(count * each, WG / PART_LEAST));
}

// The sum of component lane % 4 over the part. Halves exchange what the other sums, so that four sums take little more
// than one. For uniform control flow.
fn part_sum(v: vec4<f32>, turn: u32, part: Part) -> f32 {
  let second = (part.lane & 2u) != 0u;
  let pair = select(v.xy, v.zw, second) + subgroupShuffleXor(select(v.zw, v.xy, second), 2u);
  let odd = (part.lane & 1u) != 0u;
  var sum = select(pair.x, pair.y, odd) + subgroupShuffleXor(select(pair.y, pair.x, odd), 1u);
  // No branches: what comes from beyond a small subgroup is dropped.
  sum += select(0.0, subgroupShuffleXor(sum, 4u), part.size > 4u);
  sum += select(0.0, subgroupShuffleXor(sum, 8u), part.size > 8u);
  sum += select(0.0, subgroupShuffleXor(sum, 16u), part.size > 16u);
  return sum;
}
