// h[token] = the row of the embedding table for its id. One workgroup per token and 512 columns.
// Ids outside this shard of the table are left for the call that holds them.
//
// One more per token and class of layers prepares what these need of the token's place (classes_*).
//
// --- specialised ---
const K: u32 = 64u;  // hidden size; rows are padded to BLOCKS * 8

const BLOCKS: u32 = (K + 7u) / 8u;
const GROUPS: u32 = (BLOCKS + 63u) / 64u;  // workgroups of a row

struct Params {
  row_begin: u32,  // first id in this shard
  row_count: u32,
  max_pages: u32,  // entries per sequence in the page tables of both classes
  max_pages_1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> token_ids: array<u32>;  // [tokens]
@group(0) @binding(3) var<storage, read_write> h: array<f32>;    // [tokens, BLOCKS * 8]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  if (workgroup_id.y >= GROUPS) {
    place_in_class(workgroup_id.y - GROUPS, workgroup_id.x, li);
    return;
  }
  let id = token_ids[workgroup_id.x];
  if (id < params.row_begin || id - params.row_begin >= params.row_count) {
    return;
  }
  let block = workgroup_id.y * 64u + li;
  if (block >= BLOCKS) {
    return;
  }
  let b = load_weight8(id - params.row_begin, block);
  let at = (workgroup_id.x * BLOCKS + block) * 8u;
  for (var i = 0u; i < 4u; i++) {
    if (block * 8u + i < K) {
      h[at + i] = b.lo[i];
    }
    if (block * 8u + 4u + i < K) {
      h[at + 4u + i] = b.hi[i];
    }
  }
}
