// Joins the splits of attention: out[token, head] = sum_s e^(m_s - m) o_s / sum_s e^(m_s - m) l_s.
// Then the head's gate, if it has one. Library files give gate (gate_*), slice_length (slices) and store_attn (attn_*).
//
// One workgroup per token and head. An invocation owns one vec4 column and every GROUPS-th split, AHEAD of them under way
// at a time, the first before it is known how many there are; it joins its own as it goes. Groups meet in workgroup
// memory, behind a single barrier. The order of additions depends on the number of splits alone.
//
// --- specialised ---
const HEADS: u32 = 4u;  // query heads
const D: u32 = 16u;     // head_dim; rows are padded to D8
const WINDOW: u32 = 0u; // positions that a query sees; 0 = all before it

const WG: u32 = 256u;
const D8: u32 = (D + 7u) / 8u * 8u;
const COLUMNS: u32 = D8 / 4u;
const GROUPS: u32 = min(WG / COLUMNS, 16u);
const AHEAD: u32 = 8u;
const LOWEST: f32 = -3.0e38;

struct Params {
  token_begin: u32,
  splits: u32,
  split_len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;   // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> part_o: array<vec4<f32>>;   // [tokens, splits, HEADS, D8]
@group(0) @binding(3) var<storage, read> part_ml: array<vec2<f32>>;  // [tokens, splits, HEADS] of (max, sum)

var<workgroup> statistics: array<vec2<f32>, GROUPS>;  // (max, sum) of a group's splits
var<workgroup> columns: array<vec4<f32>, GROUPS * COLUMNS>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let local = workgroup_id.x;
  let head = workgroup_id.y;
  let token = params.token_begin + local;
  let first = local * params.splits * HEADS + head;
  let column = li % COLUMNS;
  let group = li / COLUMNS;
  let gated = gate(token, head);
  var seen = places[token].y;  // positions before the last
  if (WINDOW > 0u) {
    seen = min(seen, WINDOW - 1u);
  }

  var m = LOWEST;
  var sum = 0.0;
  var o = vec4<f32>(0.0);
  for (var base = group; group < GROUPS; base += AHEAD * GROUPS) {
    var ml: array<vec2<f32>, AHEAD>;
    var part: array<vec4<f32>, AHEAD>;
    for (var i = 0u; i < AHEAD; i++) {
      let at = first + min(base + i * GROUPS, params.splits - 1u) * HEADS;
      ml[i] = part_ml[at];
      part[i] = part_o[at * COLUMNS + column];
    }
    let used = seen / slice_length(seen + 1u) + 1u;
    let before = m;
    for (var i = 0u; i < AHEAD; i++) {
      m = max(m, select(LOWEST, ml[i].x, base + i * GROUPS < used));
    }
    let factor = exp(before - m);
    sum *= factor;
    o *= factor;
    for (var i = 0u; i < AHEAD; i++) {
      // Where there is no split, anything may have been read.
      if (base + i * GROUPS < used) {
        let weight = exp(ml[i].x - m);
        sum += weight * ml[i].y;
        o += weight * part[i];
      }
    }
    if (base + AHEAD * GROUPS >= used) {
      break;
    }
  }
  if (group < GROUPS) {
    columns[li] = o;
    if (column == 0u) {
      statistics[group] = vec2<f32>(m, sum);
    }
  }
  workgroupBarrier();
  if (li < COLUMNS) {
    var most = LOWEST;
    for (var g = 0u; g < GROUPS; g++) {
      most = max(most, statistics[g].x);
    }
    var total = vec4<f32>(0.0);
    var divisor = 0.0;
    for (var g = 0u; g < GROUPS; g++) {
      let weight = exp(statistics[g].x - most);
      divisor += weight * statistics[g].y;
      total += weight * columns[g * COLUMNS + li];
    }
    store_attn((token * HEADS + head) * COLUMNS + li, total / divisor * gated);
  }
}
