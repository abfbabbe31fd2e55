// y[token, n] = out( sum_k norm(x)[token, k] * w[n, k] ) for one or two tokens at a time and compressed weights, whose decoding is
// what takes time: each invocation keeps its part of x in registers, ready for use, for all rows of the workgroup.
//
// A workgroup owns QUADS times four rows of w and TOKENS rows of x, which share decoded weights. An invocation owns a unit of 32
// columns, or several in turn where there are more than invocations; it loads those of four rows at once, whole rows side by
// side in memory. Then parts of the workgroup (parts_*) sum over their invocations, and the workgroup over its parts.
// Tiles of tokens are the first axis of the grid, where workgroups that follow each other may share rows of w, or else the last.
// The order of additions depends on K and the size of parts alone, not on the number of tokens or rows.
//
// Tokens have names: drivers keep arrays in slow memory that they fail to unroll.
//
// Library files give: the entry point and parts (parts_*), own_of and quad_dot (unit_slots with unit_floats or unit_bytes),
// AHEAD, load_quad (quads), weights (weight_*), prepare_levels (levels_*), norm_x4 (norm_*), tile_expert and tile_item
// (rows_*), tile_rows (rows_routed, rows_even), out4 (out_*).
//
// --- specialised ---
const WG: u32 = 64u;          // invocations of a workgroup, a multiple of 32
const QUADS: u32 = 1u;        // four rows each
const FOURS: bool = true;     // whether the rows of every expert are a multiple of four
const ROUNDED: bool = false;  // whether x is rounded to 16 bits where it becomes integers
const K: u32 = 64u;           // columns of w
const X_STRIDE: u32 = 64u;    // elements from one row of x to the next, a multiple of 8
const TOKENS: u32 = 1u;       // rows of x: 1 or 2

const BLOCKS: u32 = (K + 7u) / 8u;
const UNITS: u32 = (K + 31u) / 32u;
const SUMS: u32 = QUADS * 4u + 1u;  // of a part and a token: those of the rows, then the sum of squares

struct Params {
  tokens: u32,        // result rows (dense)
  expert_begin: u32,  // experts in the bound buffers of w
  expert_count: u32,
  row_begin: u32,     // rows n of each expert in the bound buffers
  row_count: u32,
  y_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;  // [x rows, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [tokens, y_stride]

var<workgroup> partial: array<f32, TOKENS * SUMS * (WG / PART_LEAST)>;  // [part, TOKENS, SUMS]

// A unit of each row of x.
struct Rows {
  a: Own,
  b: Own,
}

// Products of four rows of w with each row of x.
struct Products {
  a: vec4<f32>,
  b: vec4<f32>,
}

fn run(workgroup_id: vec3<u32>, part: Part, parts: u32) {
  let tile = workgroup_id.x + workgroup_id.z;
  let expert = tile_expert(tile);
  if (expert < params.expert_begin || expert - params.expert_begin >= params.expert_count) {
    return;
  }
  prepare_levels();
  let row_count = tile_rows(expert);
  let first = workgroup_id.y * QUADS * 4u;
  if (UNEVEN && first >= row_count) {
    return;
  }
  let buffer = buffer_of(expert - params.expert_begin);
  let base = expert_in_buffer(expert - params.expert_begin) * params.row_count;
  var squares = vec2<f32>(0.0);  // of each row of x
  if (UNITS <= WG) {
    let owns = invocation < UNITS;
    // In blocks of their own: compilers keep loads where they are asked for then, before x is made ready.
    var words: WordsQuad;
    if (AHEAD && owns) {
      words = load_quad(buffer, K, rows_from(base, first, row_count), invocation);
    }
    var own: Rows;
    if (owns) {
      own = rows_of_x(tile, invocation, &squares);
    }
    var sums = Products();
    if (owns) {
      if (!AHEAD) {
        words = load_quad(buffer, K, rows_from(base, first, row_count), invocation);
      }
      sums = products(words, invocation, own);
    }
    keep(0u, sums, part);
    for (var q = 1u; q < QUADS; q++) {
      sums = Products();
      if (owns) {
        sums = products(load_quad(buffer, K, rows_from(base, first + q * 4u, row_count), invocation), invocation, own);
      }
      keep(q, sums, part);
    }
  } else {
    var sums = array<Products, QUADS>();
    for (var unit = invocation; unit < UNITS; unit += WG) {
      let own = rows_of_x(tile, unit, &squares);
      for (var q = 0u; q < QUADS; q++) {
        let more = products(load_quad(buffer, K, rows_from(base, first + q * 4u, row_count), unit), unit, own);
        sums[q].a += more.a;
        if (TOKENS > 1u) {
          sums[q].b += more.b;
        }
      }
    }
    for (var q = 0u; q < QUADS; q++) {
      keep(q, sums[q], part);
    }
  }
  if (NORMED) {
    let sum = part_sum(vec4<f32>(squares, 0.0, 0.0), QUADS * TOKENS, part);
    if (part.lane < TOKENS) {
      partial[(part.index * TOKENS + part.lane) * SUMS + QUADS * 4u] = sum;
    }
  }
  workgroupBarrier();

  for (var i = invocation; i < QUADS * TOKENS; i += WG) {
    let t = i / QUADS;
    let n = first + i % QUADS * 4u;
    let item = tile_item(tile, t);
    if (n < row_count && item.valid) {
      var sum = vec4<f32>(0.0);
      var square = 0.0;
      for (var p = 0u; p < parts; p++) {
        let at = (p * TOKENS + t) * SUMS;
        let four = at + i % QUADS * 4u;
        sum += vec4<f32>(partial[four], partial[four + 1u], partial[four + 2u], partial[four + 3u]);
        if (NORMED) {
          square += partial[at + QUADS * 4u];
        }
      }
      if (NORMED) {
        sum *= norm_scale(square);
      }
      out4(item.y_row, params.row_begin + n, sum, min(4u, row_count - n));
    }
  }
}

// A unit of the rows of x of a tile; adds the squares of its elements to those of each row.
fn rows_of_x(tile: u32, unit: u32, squares: ptr<function, vec2<f32>>) -> Rows {
  var own: Rows;
  let a = load_slots(0u, tile_item(tile, 0u).x_row, unit);
  own.a = own_of(a);
  (*squares).x += a.squares;
  if (TOKENS > 1u) {
    let b = load_slots(0u, tile_item(tile, 1u).x_row, unit);
    own.b = own_of(b);
    (*squares).y += b.squares;
  }
  return own;
}

fn products(words: WordsQuad, unit: u32, own: Rows) -> Products {
  let quad = units_of_quad(words, unit);
  var sums: Products;
  sums.a = quad_dot(quad, own.a);
  if (TOKENS > 1u) {
    sums.b = quad_dot(quad, own.b);
  }
  return sums;
}

// Four rows of a buffer. Beyond the end of an expert they are others, whose sums are not written: the last four, or the last.
fn rows_from(base: u32, row: u32, row_count: u32) -> vec4<u32> {
  if (FOURS) {
    return base + min(row, row_count - 4u) + vec4<u32>(0u, 1u, 2u, 3u);
  }
  return base + min(row + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row_count - 1u));
}

// Sums over a part, which takes turns between even and odd from token to token.
fn keep(q: u32, sums: Products, part: Part) {
  keep_token(q, 0u, sums.a, part);
  if (TOKENS > 1u) {
    keep_token(q, 1u, sums.b, part);
  }
}

fn keep_token(q: u32, t: u32, sums: vec4<f32>, part: Part) {
  let sum = part_sum(sums, q * TOKENS + t, part);
  if (part.lane < 4u) {
    partial[(part.index * TOKENS + t) * SUMS + q * 4u + part.lane] = sum;
  }
}

fn load_x4(source: u32, row: u32, quad: u32) -> vec4<f32> {
  return begin4(x[row * (X_STRIDE / 4u) + quad], quad, K);
}
