// Weights of experts that lie in five buffers: the first BUFFER_EXPERTS in w, the next in w1, and so on. All loads of a
// block are under one branch, so that they are under way together. The kernel gives ROWS and BLOCKS; BLOCK_LOADS and
// decode8 are in weight_*.
// --- specialised ---
const BUFFER_EXPERTS: u32 = 1u;  // experts of each buffer but the last

@group(0) @binding(13) var<storage, read> w1: array<vec4<u32>>;
@group(0) @binding(14) var<storage, read> w2: array<vec4<u32>>;
@group(0) @binding(15) var<storage, read> w3: array<vec4<u32>>;
@group(0) @binding(17) var<storage, read> w4: array<vec4<u32>>;

fn buffer_of(expert: u32) -> u32 {
  return expert / BUFFER_EXPERTS;
}

fn expert_in_buffer(expert: u32) -> u32 {
  return expert % BUFFER_EXPERTS;
}

fn load_rows8(buffer: u32, rows: array<u32, ROWS>, block: u32) -> array<Block8, ROWS> {
  var first: array<vec4<u32>, ROWS>;
  var last: array<vec4<u32>, ROWS>;
  switch (buffer) {
    case 0u: {
      for (var r = 0u; r < ROWS; r++) {
        let at = (rows[r] * BLOCKS + block) * BLOCK_LOADS;
        first[r] = w[at];
        last[r] = w[at + BLOCK_LOADS - 1u];
      }
    }
    case 1u: {
      for (var r = 0u; r < ROWS; r++) {
        let at = (rows[r] * BLOCKS + block) * BLOCK_LOADS;
        first[r] = w1[at];
        last[r] = w1[at + BLOCK_LOADS - 1u];
      }
    }
    case 2u: {
      for (var r = 0u; r < ROWS; r++) {
        let at = (rows[r] * BLOCKS + block) * BLOCK_LOADS;
        first[r] = w2[at];
        last[r] = w2[at + BLOCK_LOADS - 1u];
      }
    }
    case 3u: {
      for (var r = 0u; r < ROWS; r++) {
        let at = (rows[r] * BLOCKS + block) * BLOCK_LOADS;
        first[r] = w3[at];
        last[r] = w3[at + BLOCK_LOADS - 1u];
      }
    }
    default: {
      for (var r = 0u; r < ROWS; r++) {
        let at = (rows[r] * BLOCKS + block) * BLOCK_LOADS;
        first[r] = w4[at];
        last[r] = w4[at + BLOCK_LOADS - 1u];
      }
    }
  }
  var out: array<Block8, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    out[r] = decode8(first[r], last[r]);
  }
  return out;
}
