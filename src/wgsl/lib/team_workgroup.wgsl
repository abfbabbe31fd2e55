// Entry point whose teams are 32 invocations that sum through workgroup memory: needs no feature of the adapter.
// The kernel gives WG, SUMS (how many vec4s are summed at a time) and run(). Every invocation must call team_put for
// every slot, then team_sync, all in uniform control flow: one barrier serves all sums.
var<workgroup> team_scratch: array<vec4<f32>, SUMS * WG>;

// local_invocation_index, for library files that are not handed it.
var<private> invocation: u32;

struct Team {
  index: u32,  // which team of the workgroup
  lane: u32,   // which member of the team
  size: u32,   // members
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) local_index: u32) {
  invocation = local_index;
  run(workgroup_id, local_index, Team(local_index / 32u, local_index % 32u, 32u), WG / 32u);
}

fn team_put(slot: u32, value: vec4<f32>, local_index: u32) {
  team_scratch[slot * WG + local_index] = value;
}

fn team_sync() {
  workgroupBarrier();
}

// The sum of a slot over the team, for any lane.
fn team_sum(slot: u32, local_index: u32) -> vec4<f32> {
  let begin = slot * WG + local_index / 32u * 32u;
  // Bounds that are not constant keep drivers from unrolling the loop at every call: compiling takes several times
  // longer then.
  let end = begin + 32u;
  var sum = vec4<f32>(0.0);
  for (var i = begin; i < end; i++) {
    sum += team_scratch[i];
  }
  return sum;
}

// Which slots a lane should take when the team's sums are used: lane, lane + TEAM_STEP, ...
const TEAM_STEP: u32 = 32u;

fn team_first(lane: u32) -> u32 {
  return lane;
}
