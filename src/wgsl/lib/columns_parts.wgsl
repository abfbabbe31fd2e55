// Rows of w from FROM on are multiplied by several workgroups, a part of their columns each, whose sums matmul_join adds up; the
// rows before by one.
// --- specialised ---
const FROM: u32 = 64u;    // rows whose columns are not parted: whole tiles
const PARTS: u32 = 2u;    // parts of the others' columns
const COLUMNS: u32 = 64u; // columns of a part but the last, a multiple of what is staged at a time
const QUADS: u32 = 16u;   // fours of the rows from FROM on

const_assert FROM % ROWS == 0u;
const_assert COLUMNS % DEPTH == 0u;

@group(0) @binding(11) var<storage, read_write> parts: array<vec4<f32>>;  // [PARTS, tokens, QUADS]

// Rows of w from `first` on, and their blocks of columns, of part `part`.
struct Share {
  first: u32,
  begin: u32,
  end: u32,
  part: u32,
}

fn share_of(workgroup: u32) -> Share {
  if (workgroup < FROM / ROWS) {
    return Share(workgroup * ROWS, 0u, BLOCKS, 0u);
  }
  let rest = workgroup - FROM / ROWS;
  let begin = rest % PARTS * (COLUMNS / 8u);
  return Share(FROM + rest / PARTS * ROWS, begin, min(begin + COLUMNS / 8u, BLOCKS), rest % PARTS);
}

// Whether sums are only a part of a result, and have been put down as that.
fn is_part(share: Share, row: u32, n: u32, v: vec4<f32>) -> bool {
  if (n < FROM) {
    return false;
  }
  parts[(share.part * params.tokens + row) * QUADS + (n - FROM) / 4u] = v;
  return true;
}
