// Entry point of attention whose maxima and sums go through subgroup operations, of any subgroup size from LEAST: a barrier
// between put and get is the kernel's. The kernel gives Heads, WG, PARTS, KEYS_EACH, OWNED, parts_in_memory() and run().
//
// --- specialised ---
const LEAST: u32 = 8u;  // members of the smallest subgroups

// Results of the subgroups, read so many at a time.
const ABREAST: u32 = 8u;

struct Lanes {
  index: u32,  // which subgroup of the workgroup
  lane: u32,   // which member of it
  size: u32,   // its members
  count: u32,  // subgroups
}

var<workgroup> peaks: array<Heads, WG / LEAST>;
var<workgroup> totals: array<Heads, WG / LEAST>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(subgroup_id) subgroup_id: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(num_subgroups) count: u32,
) {
  run(workgroup_id, subgroup_id * size + lane, Lanes(subgroup_id, lane, size, count));
}

// Adds up what the PARTS neighbours of a team have of each key; member p keeps the sums of keys p, p + PARTS, ...
fn over_parts(partial: array<Heads, KEYS_EACH>, li: u32) -> array<Heads, OWNED> {
  if (PARTS > LEAST) {
    return parts_in_memory(partial, li);
  }
  var own: array<Heads, OWNED>;
  for (var i = 0u; i < KEYS_EACH; i++) {
    var s = partial[i];
    if (PARTS > 1u) {
      s += subgroupShuffleXor(s, 1u);
    }
    if (PARTS > 2u) {
      s += subgroupShuffleXor(s, 2u);
    }
    if (PARTS > 4u) {
      s += subgroupShuffleXor(s, 4u);
    }
    if (PARTS > 8u) {
      s += subgroupShuffleXor(s, 8u);
    }
    if (PARTS > 16u) {
      s += subgroupShuffleXor(s, 16u);
    }
    own[i / PARTS] = select(own[i / PARTS], s, li % PARTS == i % PARTS);
  }
  return own;
}

fn put_max(v: Heads, li: u32, lanes: Lanes) {
  let m = subgroupMax(v);
  if (lanes.lane == 0u) {
    peaks[lanes.index] = m;
  }
}

// The maximum over the workgroup.
fn get_max(li: u32, lanes: Lanes) -> Heads {
  var m = peaks[0];
  for (var i = 0u; i < lanes.count; i += ABREAST) {
    for (var j = 0u; j < ABREAST; j++) {
      m = max(m, peaks[min(i + j, lanes.count - 1u)]);
    }
  }
  return m;
}

fn put_sum(v: Heads, li: u32, lanes: Lanes) {
  let s = subgroupAdd(v);
  if (lanes.lane == 0u) {
    totals[lanes.index] = s;
  }
}

// The sum over the workgroup.
fn get_sum(li: u32, lanes: Lanes) -> Heads {
  var s = Heads(0.0);
  for (var i = 0u; i < lanes.count; i += ABREAST) {
    for (var j = 0u; j < ABREAST; j++) {
      s += select(Heads(0.0), totals[i + j], i + j < lanes.count);
    }
  }
  return s;
}
