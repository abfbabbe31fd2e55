// y[token, n] = out( sum_k norm(x)[token, k] * w[n, k] ) for up to four tokens and large matrices of 16 bits: bound by
// reading w, and by where in memory all that is under way at a time lies.
//
// As many workgroups as run side by side go through the rows of w together, four rows each, GROUPS times four rows to the
// next. So all that is read at a time lies close together: addresses are translated page by page, and workgroups that read
// rows far from each other wait for more translations than the GPU can keep, once there are weights of more than some
// gigabytes. An invocation owns STEPS blocks of 8 columns, keeps their x in registers, ready for use, for all tokens, and has
// the next rows on their way while it multiplies the present one. Columns for which there are no registers take their turn
// when all rows are done. Then parts of the workgroup (parts_*) sum over their invocations, and the workgroup over its
// parts, once for all of its rows.
// The order of additions depends on K, TOKENS and the size of parts alone, not on the number of tokens or rows.
//
// Library files give: the entry point and parts (parts_*), keep_rows (sums_*), weights (weight_*), load_x8 (x_blocks), norm_x
// (norm_*), tile_item (rows_*), out_kept and out4_kept (out_add, keep_none), out4 (out_*).
//
// --- specialised ---
const WG: u32 = 64u;        // invocations of a workgroup, a multiple of 32
const TOKENS: u32 = 1u;     // rows of x in a tile: 1, 2 or 4
const STEPS: u32 = 1u;      // blocks of an invocation in a turn
const TURNS: u32 = 1u;      // that columns are taken in
const AHEAD: u32 = 1u;      // rows on their way: 1, 2 or 4
const GROUPS: u32 = 1u;     // workgroups
const QUADS: u32 = 1u;      // four rows each, of a workgroup: at most WG / TOKENS
const K: u32 = 64u;         // columns of w, whose rows are padded to BLOCKS * 8
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next, a multiple of 8

const BLOCKS: u32 = (K + 7u) / 8u;
const WHOLE: bool = BLOCKS == WG * STEPS * TURNS;  // whether all invocations own as many blocks
const SUMS: u32 = (QUADS * 4u + 1u) * TOKENS;      // of a part: those of the rows, then the sums of squares

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

// x of them, of one token.
alias Own = array<Block8, STEPS>;

fn run(workgroup_id: vec3<u32>, part: Part, parts: u32) {
  let first = workgroup_id.y * 4u;
  let tile = workgroup_id.x;
  // The first rows are on their way while x is made ready.
  var next: array<Blocks, AHEAD>;
  ask_first(first, 0u, &next);
  // What the result of this invocation needs of memory is asked for early, too.
  let n = first + invocation / TOKENS * GROUPS * 4u;
  let item = tile_item(tile, invocation % TOKENS);
  let makes = invocation < QUADS * TOKENS && n < params.row_count && item.valid;
  var kept: Kept;
  if (makes) {
    kept = out_kept(item.y_row, params.row_begin + n, min(4u, params.row_count - n));
  }
  // Tokens are named one by one: compilers may keep what is indexed by them in slow memory.
  var x0: Own;
  var x1: Own;
  var x2: Own;
  var x3: Own;
  var squares = vec4<f32>(0.0);
  for (var turn = 0u; turn < TURNS; turn++) {
    if (turn > 0u) {
      ask_first(first, turn, &next);
    }
    squares.x += load_own(tile_item(tile, 0u).x_row, turn, &x0);
    if (TOKENS >= 2u) {
      squares.y += load_own(tile_item(tile, 1u).x_row, turn, &x1);
    }
    if (TOKENS == 4u) {
      squares.z += load_own(tile_item(tile, 2u).x_row, turn, &x2);
      squares.w += load_own(tile_item(tile, 3u).x_row, turn, &x3);
    }
    for (var q = 0u; q < QUADS; q++) {
      let row = first + q * GROUPS * 4u;
      let a = row_dots(take(row, 0u, turn, &next), &x0, &x1, &x2, &x3);
      let b = row_dots(take(row, 1u, turn, &next), &x0, &x1, &x2, &x3);
      let c = row_dots(take(row, 2u, turn, &next), &x0, &x1, &x2, &x3);
      let d = row_dots(take(row, 3u, turn, &next), &x0, &x1, &x2, &x3);
      keep_rows(q, turn, a, b, c, d, part);
    }
  }
  if (NORMED) {
    let sum = part_sum(squares, TURNS * QUADS * TOKENS, part);
    if (part.lane < TOKENS) {
      partial[part.index * SUMS + QUADS * TOKENS * 4u + part.lane] = sum;
    }
  }
  workgroupBarrier();

  if (makes) {
    var sum = vec4<f32>(0.0);
    var square = 0.0;
    for (var p = 0u; p < parts; p++) {
      let at = p * SUMS + invocation / TOKENS * TOKENS * 4u + invocation % TOKENS;
      sum += vec4<f32>(partial[at], partial[at + TOKENS], partial[at + 2u * TOKENS], partial[at + 3u * TOKENS]);
      if (NORMED) {
        square += partial[p * SUMS + QUADS * TOKENS * 4u + invocation % TOKENS];
      }
    }
    if (NORMED) {
      sum *= norm_scale(square);
    }
    out4_kept(kept, item.y_row, params.row_begin + n, sum, min(4u, params.row_count - n));
  }
}

// Block j of the invocation in a turn; beyond the last one of a row, that one, whose x is zero.
fn own_block(j: u32, turn: u32) -> u32 {
  return min((turn * STEPS + j) * WG + invocation, BLOCKS - 1u);
}

// Beyond the last row, that one.
fn load_row(row: u32, turn: u32) -> Blocks {
  let begin = min(row, params.row_count - 1u) * BLOCKS;
  var out: Blocks;
  for (var j = 0u; j < STEPS; j++) {
    out[j] = w[begin + own_block(j, turn)];
  }
  return out;
}

fn ask_first(first: u32, turn: u32, next: ptr<function, array<Blocks, AHEAD>>) {
  for (var r = 0u; r < AHEAD; r++) {
    (*next)[r] = load_row(first + r, turn);
  }
}

// Row r of the four from `row` on. The one that comes AHEAD rows later is asked for.
fn take(row: u32, r: u32, turn: u32, next: ptr<function, array<Blocks, AHEAD>>) -> Blocks {
  let present = (*next)[0];
  for (var i = 1u; i < AHEAD; i++) {
    (*next)[i - 1u] = (*next)[i];
  }
  let later = r + AHEAD;
  (*next)[AHEAD - 1u] = load_row(row + later % 4u + later / 4u * (GROUPS * 4u), turn);
  return present;
}

// x of a turn, normalised; returns the sum of its squares.
fn load_own(x_row: u32, turn: u32, own: ptr<function, Own>) -> f32 {
  var squares = 0.0;
  for (var j = 0u; j < STEPS; j++) {
    if (WHOLE || (turn * STEPS + j) * WG + invocation < BLOCKS) {
      let raw = load_x8(x_row, own_block(j, turn));
      (*own)[j] = norm_x(raw, own_block(j, turn));
      if (NORMED) {
        squares += dot8(raw, raw);
      }
    } else {
      (*own)[j] = Block8(vec4<f32>(0.0), vec4<f32>(0.0));
    }
  }
  return squares;
}

// Products of a row with every token.
fn row_dots(
  row: Blocks, x0: ptr<function, Own>, x1: ptr<function, Own>, x2: ptr<function, Own>, x3: ptr<function, Own>,
) -> vec4<f32> {
  var a = vec4<f32>(0.0);
  var b = vec4<f32>(0.0);
  var c = vec4<f32>(0.0);
  var d = vec4<f32>(0.0);
  for (var j = 0u; j < STEPS; j++) {
    let weights = decode8(row[j], row[j]);
    a += weights.lo * (*x0)[j].lo;
    a += weights.hi * (*x0)[j].hi;
    if (TOKENS >= 2u) {
      b += weights.lo * (*x1)[j].lo;
      b += weights.hi * (*x1)[j].hi;
    }
    if (TOKENS == 4u) {
      c += weights.lo * (*x2)[j].lo;
      c += weights.hi * (*x2)[j].hi;
      d += weights.lo * (*x3)[j].lo;
      d += weights.hi * (*x3)[j].hi;
    }
  }
  let ones = vec4<f32>(1.0);
  return vec4<f32>(dot(a, ones), dot(b, ones), dot(c, ones), dot(d, ones));
}

// Puts a sum down: at `at` of those of the part, to which further turns add theirs.
fn put(at: u32, turn: u32, sum: f32, part: Part) {
  if (TURNS > 1u && turn > 0u) {
    partial[part.index * SUMS + at] += sum;
  } else {
    partial[part.index * SUMS + at] = sum;
  }
}
