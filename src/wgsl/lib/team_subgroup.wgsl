// Entry point whose teams are subgroups, of whatever size the adapter has.
// The kernel gives SUMS (how many vec4s are summed at a time) and run(). Every invocation must call team_put for every
// slot, in uniform control flow.
var<private> team_sums: array<vec4<f32>, SUMS>;

// local_invocation_index, for library files that are not handed it.
var<private> invocation: u32;

struct Team {
  index: u32,  // which team of the workgroup
  lane: u32,   // which member of the team
  size: u32,   // members
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
  // A subgroup may have room for more than the workgroup.
  run(workgroup_id, local_index, Team(subgroup_id, lane, min(size, WG)), count);
}

fn team_put(slot: u32, value: vec4<f32>, local_index: u32) {
  team_sums[slot] = subgroupAdd(value);
}

fn team_sync() {}

// Which slots a lane should take when the team's sums are used: all of them in lane 0, since every lane has them.
const TEAM_STEP: u32 = 1u;

fn team_first(lane: u32) -> u32 {
  return select(0xffffffffu, 0u, lane == 0u);
}

// The sum of a slot over the team, for any lane.
fn team_sum(slot: u32, local_index: u32) -> vec4<f32> {
  return team_sums[slot];
}
