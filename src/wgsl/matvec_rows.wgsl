// y[token, n] = out( sum_k norm(x)[token, k] * w[n, k] ) for one token at a time and large matrices of 16 bits: bound by
// reading w, and by where in memory all that is under way at a time lies.
//
// As many workgroups as run side by side go through the rows of w together, four rows each, GROUPS times four rows to the
// next. So all that is read at a time lies close together: addresses are translated page by page, and workgroups that read
// rows far from each other wait for more translations than the GPU can keep, once there are weights of more than some
// gigabytes. An invocation owns STEPS blocks of 8 columns, keeps their x in registers, ready for use, and asks for the next
// row before it multiplies the present one. Then parts of the workgroup (parts_*) sum over their invocations, and the
// workgroup over its parts, once for all of its rows.
// The order of additions depends on K and the size of parts alone, not on the number of tokens or rows.
//
// Library files give: the entry point and parts (parts_*), weights (weight_*), load_x8 (x_blocks), norm_x (norm_*),
// tile_item (rows_*), tile_of and rows_at (grid_*), out_kept and out4_kept (out_add, keep_none), out4 (out_*).
//
// --- specialised ---
const WG: u32 = 64u;        // invocations of a workgroup, a multiple of 32
const STEPS: u32 = 1u;      // blocks of an invocation
const GROUPS: u32 = 1u;     // workgroups
const QUADS: u32 = 1u;      // four rows each, of a workgroup: at most WG
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8

const TOKENS: u32 = 1u;
const BLOCKS: u32 = (K + 7u) / 8u;
const WHOLE: bool = BLOCKS % WG == 0u;  // whether all invocations own as many blocks
const SUMS: u32 = QUADS * 4u + 1u;      // of a part: those of the rows, then the sum of squares

struct Params {
  tokens: u32,        // result rows
  expert_begin: u32,  // 0
  expert_count: u32,  // 1
  row_begin: u32,     // rows n in the bound buffer
  row_count: u32,
  y_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;  // [x rows, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [tokens, y_stride]

var<workgroup> partial: array<f32, SUMS * (WG / PART_LEAST)>;  // [part, SUMS]

// A row's blocks of an invocation.
alias Blocks = array<vec4<u32>, STEPS>;

fn run(workgroup_id: vec3<u32>, part: Part, parts: u32) {
  let last = params.row_count - 1u;
  let first = rows_at(workgroup_id) * 4u;
  let item = tile_item(tile_of(workgroup_id), 0u);
  // The first row is on its way while x is made ready.
  var next = load_row(min(first, last));
  // What the result of this invocation needs of memory is asked for early, too.
  let n = first + invocation * GROUPS * 4u;
  let makes = invocation < QUADS && n < params.row_count && item.valid;
  var kept: Kept;
  if (makes) {
    kept = out_kept(item.y_row, params.row_begin + n, min(4u, params.row_count - n));
  }
  var own: array<Block8, STEPS>;
  var squares = 0.0;
  for (var j = 0u; j < STEPS; j++) {
    if (WHOLE || invocation + j * WG < BLOCKS) {
      let raw = load_x8(item.x_row, own_block(j));
      own[j] = norm_x(raw, own_block(j));
      if (NORMED) {
        squares += dot8(raw, raw);
      }
    }
  }
  for (var q = 0u; q < QUADS; q++) {
    let row = first + q * GROUPS * 4u;
    var sums: vec4<f32>;
    let a = next;
    next = load_row(min(row + 1u, last));
    sums.x = row_dot(a, &own);
    let b = next;
    next = load_row(min(row + 2u, last));
    sums.y = row_dot(b, &own);
    let c = next;
    next = load_row(min(row + 3u, last));
    sums.z = row_dot(c, &own);
    let d = next;
    next = load_row(min(row + GROUPS * 4u, last));
    sums.w = row_dot(d, &own);
    keep(q, sums, part);
  }
  if (NORMED) {
    let sum = part_sum(vec4<f32>(squares, 0.0, 0.0, 0.0), QUADS, part);
    if (part.lane == 0u) {
      partial[part.index * SUMS + QUADS * 4u] = sum;
    }
  }
  workgroupBarrier();

  if (makes) {
    var sum = vec4<f32>(0.0);
    var square = 0.0;
    for (var p = 0u; p < parts; p++) {
      let at = p * SUMS + invocation * 4u;
      sum += vec4<f32>(partial[at], partial[at + 1u], partial[at + 2u], partial[at + 3u]);
      if (NORMED) {
        square += partial[p * SUMS + QUADS * 4u];
      }
    }
    if (NORMED) {
      sum *= norm_scale(square);
    }
    out4_kept(kept, item.y_row, params.row_begin + n, sum, min(4u, params.row_count - n));
  }
}

// Block j of the invocation; beyond the last one of a row, that one, whose x is zero.
fn own_block(j: u32) -> u32 {
  return min(invocation + j * WG, BLOCKS - 1u);
}

fn load_row(row: u32) -> Blocks {
  var out: Blocks;
  for (var j = 0u; j < STEPS; j++) {
    out[j] = w[row * BLOCKS + own_block(j)];
  }
  return out;
}

fn row_dot(row: Blocks, own: ptr<function, array<Block8, STEPS>>) -> f32 {
  var sum = vec4<f32>(0.0);
  for (var j = 0u; j < STEPS; j++) {
    let b = decode8(row[j], row[j]);
    sum += b.lo * (*own)[j].lo;
    sum += b.hi * (*own)[j].hi;
  }
  return dot(sum, vec4<f32>(1.0));
}

// Sums over a part. `q` alternates between even and odd from call to call.
fn keep(q: u32, sums: vec4<f32>, part: Part) {
  let sum = part_sum(sums, q, part);
  if (part.lane < 4u) {
    partial[part.index * SUMS + q * 4u + part.lane] = sum;
  }
}
