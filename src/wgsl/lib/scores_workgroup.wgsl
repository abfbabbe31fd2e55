// Entry point of attention whose maxima and sums go through workgroup memory: needs no feature of the adapter. A barrier
// between put and get is the kernel's. The kernel gives Heads, WG, KEYS_EACH, OWNED, scores (at least WG of them, free while
// a maximum or sum is made), parts_in_memory() and run().

// Results of the first round, each of ABREAST invocations.
const ABREAST: u32 = 8u;
const FEWER: u32 = WG / ABREAST;

struct Lanes {
  unused: u32,
}

var<workgroup> fewer: array<Heads, FEWER>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  run(workgroup_id, li, Lanes(0u));
}

// Adds up what the PARTS members of a team have of each key; member p keeps the sums of keys p, p + PARTS, ...
// There is a barrier in it, between what was read of `scores` and put_max.
fn over_parts(partial: array<Heads, KEYS_EACH>, li: u32) -> array<Heads, OWNED> {
  return parts_in_memory(partial, li);
}

fn put_max(v: Heads, li: u32, lanes: Lanes) {
  scores[li] = v;
}

// The maximum over the workgroup.
fn get_max(li: u32, lanes: Lanes) -> Heads {
  if (li < FEWER) {
    var m = scores[li];
    for (var j = 1u; j < ABREAST; j++) {
      m = max(m, scores[li + j * FEWER]);
    }
    fewer[li] = m;
  }
  workgroupBarrier();
  var m = fewer[0];
  // Bounds that are not constant keep drivers from unrolling the outer loop.
  for (var i = 0u; i < min(FEWER, arrayLength(&places) + FEWER); i += ABREAST) {
    for (var j = 0u; j < ABREAST; j++) {
      m = max(m, fewer[i + j]);
    }
  }
  return m;
}

fn put_sum(v: Heads, li: u32, lanes: Lanes) {
  workgroupBarrier();
  scores[li] = v;
}

// The sum over the workgroup.
fn get_sum(li: u32, lanes: Lanes) -> Heads {
  if (li < FEWER) {
    var s = scores[li];
    for (var j = 1u; j < ABREAST; j++) {
      s += scores[li + j * FEWER];
    }
    fewer[li] = s;
  }
  workgroupBarrier();
  var s = Heads(0.0);
  for (var i = 0u; i < min(FEWER, arrayLength(&places) + FEWER); i += ABREAST) {
    for (var j = 0u; j < ABREAST; j++) {
      s += fewer[i + j];
    }
  }
  return s;
}
