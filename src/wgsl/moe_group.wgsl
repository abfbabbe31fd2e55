// Groups (token, choice) pairs by expert, keeping their order, and cuts each group into tiles of at most `tile` pairs. A
// workgroup for each expert: it counts the pairs of all experts up to its own, which says where its group and its tiles
// begin, then puts its own pairs down in their order. Nothing depends on which workgroup or invocation comes first.
//
// --- specialised ---
const EXPERTS: u32 = 8u;  // moe_num_experts

const WG: u32 = 256u;
const SEGMENT: u32 = 32u * WG;  // pairs whose order is found at a time: a bit each, a word per invocation
const UNUSED: u32 = 0xffffffffu;

struct Params {
  pairs: u32,
  tile: u32,       // pairs per tile
  max_tiles: u32,  // entries of tiles, enough for any routing
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> expert_ids: array<u32>;         // [pairs]
@group(0) @binding(2) var<storage, read_write> pairs: array<u32>;        // [pairs], in order of experts
@group(0) @binding(3) var<storage, read_write> tiles: array<vec4<u32>>;  // [max_tiles] of (expert, begin, count, 0)

var<workgroup> counts: array<atomic<u32>, EXPERTS>;
var<workgroup> before: array<atomic<u32>, 2>;  // pairs and tiles of the experts before this one
var<workgroup> mine: array<atomic<u32>, WG>;   // which pairs of a segment are this expert's
var<workgroup> sums: array<u32, 2u * WG>;      // two halves that take turns

// Experts of four pairs that lie WG apart, so that their loads are under way together.
fn four_ids(first: u32) -> vec4<u32> {
  let at = vec4<u32>(first) + WG * vec4<u32>(0u, 1u, 2u, 3u);
  let safe = min(at, vec4<u32>(params.pairs - 1u));
  let ids = vec4<u32>(expert_ids[safe.x], expert_ids[safe.y], expert_ids[safe.z], expert_ids[safe.w]);
  return select(vec4<u32>(UNUSED), ids, at < vec4<u32>(params.pairs));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let expert = workgroup_id.x;
  for (var e = li; e < EXPERTS; e += WG) {
    atomicStore(&counts[e], 0u);
  }
  if (li < 2u) {
    atomicStore(&before[li], 0u);
  }
  workgroupBarrier();
  for (var base = 0u; base < params.pairs; base += 4u * WG) {
    let ids = four_ids(base + li);
    for (var i = 0u; i < 4u; i++) {
      if (ids[i] <= expert) {
        atomicAdd(&counts[ids[i]], 1u);
      }
    }
  }
  workgroupBarrier();
  for (var e = li; e < expert; e += WG) {
    let count = atomicLoad(&counts[e]);
    atomicAdd(&before[0], count);
    atomicAdd(&before[1], (count + params.tile - 1u) / params.tile);
  }
  workgroupBarrier();
  let count = atomicLoad(&counts[expert]);
  let first_pair = atomicLoad(&before[0]);
  let first_tile = atomicLoad(&before[1]);
  let tile_count = (count + params.tile - 1u) / params.tile;
  for (var i = li; i < tile_count; i += WG) {
    let done = i * params.tile;
    tiles[first_tile + i] = vec4<u32>(expert, first_pair + done, min(params.tile, count - done), 0u);
  }
  if (expert == EXPERTS - 1u) {
    for (var i = first_tile + tile_count + li; i < params.max_tiles; i += WG) {
      tiles[i] = vec4<u32>(UNUSED, 0u, 1u, 0u);
    }
  }

  var begin = first_pair;
  for (var base = 0u; base < params.pairs; base += SEGMENT) {
    atomicStore(&mine[li], 0u);
    workgroupBarrier();
    let end = min(base + SEGMENT, params.pairs);
    for (var from_pair = base; from_pair < end; from_pair += 4u * WG) {
      let ids = four_ids(from_pair + li);
      for (var i = 0u; i < 4u; i++) {
        if (ids[i] == expert) {
          let bit = from_pair - base + i * WG + li;
          atomicOr(&mine[bit / 32u], 1u << (bit % 32u));
        }
      }
    }
    workgroupBarrier();
    // Inclusive sums over the invocations.
    var bits = atomicLoad(&mine[li]);
    let own = countOneBits(bits);
    sums[li] = own;
    workgroupBarrier();
    var half = 0u;
    for (var step = 1u; step < WG; step *= 2u) {
      var sum = sums[half + li];
      if (li >= step) {
        sum += sums[half + li - step];
      }
      half = WG - half;
      sums[half + li] = sum;
      workgroupBarrier();
    }
    var at = begin + sums[half + li] - own;
    begin += sums[half + WG - 1u];
    while (bits != 0u) {
      pairs[at] = base + li * 32u + countTrailingZeros(bits);
      bits &= bits - 1u;
      at++;
    }
    workgroupBarrier();
  }
}
