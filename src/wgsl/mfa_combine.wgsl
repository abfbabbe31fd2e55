// Joins the splits of mfa_decode: out[token, head] = sum_s e^(m_s - m) o_s / sum_s e^(m_s - m) l_s.
// Then the head's gate, if it has one (library gate_*).
// One workgroup per token and head. First the statistics of all splits, an invocation each; then an invocation owns one
// vec4 column and every GROUPS-th split, so that many partial results are on their way at a time.
// The order of additions depends on the number of splits alone.
//
// --- specialised ---
const HEADS: u32 = 4u;  // query heads
const D: u32 = 16u;     // head_dim; rows are padded to D8
const WINDOW: u32 = 0u; // positions that a query sees; 0 = all before it

const WG: u32 = 256u;
const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;
const GROUPS: u32 = WG / COLUMNS;
const FEW: u32 = 4u;

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;   // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> part_o: array<vec4<f32>>;   // [tokens, splits, HEADS, D8]
@group(0) @binding(3) var<storage, read> part_ml: array<vec2<f32>>;  // [tokens, splits, HEADS] of (max, sum)
@group(0) @binding(4) var<storage, read_write> attn: array<vec4<f32>>; // [tokens, HEADS, D8]

var<workgroup> scratch: array<f32, WG>;
var<workgroup> weights: array<f32, WG>;
var<workgroup> columns: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let local = workgroup_id.x;
  let head = workgroup_id.y;
  let token = params.token_begin + local;
  var seen = places[token].y;  // positions before the last
  if (WINDOW > 0u) {
    seen = min(seen, WINDOW - 1u);
  }
  let used = seen / params.split_len + 1u;
  let first = local * params.splits * HEADS + head;

  // A few splits are cheaper to look at by every invocation than to share.
  let few = used <= FEW;
  var m = -3.0e38;
  if (few) {
    for (var s = 0u; s < used; s++) {
      m = max(m, part_ml[first + s * HEADS].x);
    }
  } else {
    for (var s = li; s < used; s += WG) {
      m = max(m, part_ml[first + s * HEADS].x);
    }
    scratch[li] = m;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (li < half) {
        scratch[li] = max(scratch[li], scratch[li + half]);
      }
    }
    workgroupBarrier();
    m = scratch[0];
    workgroupBarrier();
  }

  let column = li % COLUMNS;
  let group = li / COLUMNS;
  var sum = 0.0;
  var o = vec4<f32>(0.0);
  for (var base = 0u; base < used; base += WG) {
    let count = min(WG, used - base);
    if (li < count) {
      let ml = part_ml[first + (base + li) * HEADS];
      let weight = exp(ml.x - m);
      weights[li] = weight;
      sum += weight * ml.y;
    }
    workgroupBarrier();
    if (group < GROUPS) {
      for (var s = group; s < count; s += GROUPS) {
        o += weights[s] * part_o[(first + (base + s) * HEADS) * COLUMNS + column];
      }
    }
    workgroupBarrier();
  }
  columns[li] = o;
  if (few) {
    sum = 0.0;
    for (var s = 0u; s < used; s++) {
      let ml = part_ml[first + s * HEADS];
      sum += exp(ml.x - m) * ml.y;
    }
    workgroupBarrier();
  } else {
    scratch[li] = sum;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (li < half) {
        scratch[li] += scratch[li + half];
      }
    }
    workgroupBarrier();
    sum = scratch[0];
  }
  if (li < COLUMNS) {
    var total = columns[li];
    for (var g = 1u; g < GROUPS; g++) {
      total += columns[g * COLUMNS + li];
    }
    attn[(token * HEADS + head) * COLUMNS + li] = total / sum * gate(token, head);
  }
}
