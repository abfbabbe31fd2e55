// Groups (token, choice) pairs by expert, keeping their order, and cuts each group into tiles of at most `tile` pairs.
// One workgroup: counts per expert, then every expert finds its start, then pairs are placed 256 at a time.
//
// --- specialised ---
const EXPERTS: u32 = 8u;  // moe_num_experts

const WG: u32 = 256u;
const UNUSED: u32 = 0xffffffffu;

struct Params {
  pairs: u32,      // tokens * moe_top_k
  tile: u32,       // pairs per tile
  max_tiles: u32,  // entries of tiles, enough for any routing
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> expert_ids: array<u32>;              // [pairs]
@group(0) @binding(2) var<storage, read_write> pairs: array<u32>;             // [pairs], in the order of their experts
@group(0) @binding(3) var<storage, read_write> tiles: array<vec4<u32>>;       // [max_tiles] of (expert, begin, count, 0)

var<workgroup> counts: array<atomic<u32>, EXPERTS>;
var<workgroup> next: array<u32, EXPERTS>;
var<workgroup> batch: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) li: u32) {
  for (var e = li; e < EXPERTS; e += WG) {
    atomicStore(&counts[e], 0u);
  }
  workgroupBarrier();
  for (var p = li; p < params.pairs; p += WG) {
    atomicAdd(&counts[min(expert_ids[p], EXPERTS - 1u)], 1u);
  }
  workgroupBarrier();
  for (var e = li; e < EXPERTS; e += WG) {
    var begin = 0u;
    var tile = 0u;
    for (var other = 0u; other < e; other++) {
      let count = atomicLoad(&counts[other]);
      begin += count;
      tile += (count + params.tile - 1u) / params.tile;
    }
    next[e] = begin;
    let count = atomicLoad(&counts[e]);
    for (var done = 0u; done < count; done += params.tile) {
      tiles[tile] = vec4<u32>(e, begin + done, min(params.tile, count - done), 0u);
      tile++;
    }
    if (e == EXPERTS - 1u) {
      for (; tile < params.max_tiles; tile++) {
        tiles[tile] = vec4<u32>(UNUSED, 0u, 1u, 0u);
      }
    }
  }
  for (var base = 0u; base < params.pairs; base += WG) {
    let p = base + li;
    var expert = UNUSED;
    if (p < params.pairs) {
      expert = min(expert_ids[p], EXPERTS - 1u);
    }
    workgroupBarrier();
    batch[li] = expert;
    workgroupBarrier();
    // My place among the pairs of this batch with the same expert; the last of them moves the expert's start.
    var before = 0u;
    var after = 0u;
    let size = min(WG, params.pairs - base);
    for (var i = 0u; i < size; i++) {
      let same = u32(batch[i] == expert);
      before += select(0u, same, i < li);
      after += select(0u, same, i > li);
    }
    var at = 0u;
    if (expert != UNUSED) {
      at = next[expert] + before;
      pairs[at] = p;
    }
    workgroupBarrier();
    if (expert != UNUSED && after == 0u) {
      next[expert] = at + 1u;
    }
  }
}
