// Finds the largest logit of every block of a row, the first of equals: one workgroup per block and row. `sample` so
// need not read the row for its maximum, nor blocks that hold nothing of what it keeps.
//
// Logits are compared as `sample` does: penalised, as keys, NaN below all others. Of a block that holds nothing else, the
// first token is left. All logits of a block are under way together, before the options are known.
//
// The library logit_keys gives keys and their maximum.

const WG: u32 = 256u;

struct Params {
  vocab: u32,
  logits_stride: u32,  // elements from one row of logits to the next, a multiple of 4
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<u32>>;        // [rows, logits_stride], bits of f32
@group(0) @binding(2) var<storage, read> row_sequences: array<u32>;       // [rows]
@group(0) @binding(3) var<storage, read> options: array<u32>;             // [sequences, 8], see load_row
@group(0) @binding(4) var<storage, read> seen: array<u32>;                // [sequences, ceil(vocab / 32)], a bit per token
@group(0) @binding(5) var<storage, read_write> peaks: array<vec2<u32>>;   // [rows, blocks] of (key, token)

fn seen_word(i: u32) -> u32 {
  return seen[i];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let all = (params.vocab + 3u) / 4u;  // vectors
  let count = (all + PEAK_BLOCK - 1u) / PEAK_BLOCK;
  // Beyond the last vector, that one again: a block holds two vectors for every invocation.
  let i = min(workgroup_id.x * PEAK_BLOCK + li, all - 1u);
  let j = min(i + WG, all - 1u);
  let at = workgroup_id.y * (params.logits_stride / 4u);
  let a = logits[at + i];
  let b = logits[at + j];
  let row = load_row(workgroup_id.y, row_sequences[workgroup_id.y]);
  let peak = best_of_all(better(best_of(row, i, a), best_of(row, j, b)), li);
  if (li == 0u) {
    peaks[workgroup_id.y * count + workgroup_id.x] = peak;
  }
}
