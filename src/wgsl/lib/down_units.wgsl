// How moe_down walks the columns of compressed weights: units of 32 columns, whose x is in registers (unit_slots) for all
// eight rows (quads).
const SHARE_UNITS: u32 = (SHARE_K + 31u) / 32u;
const UNITS: u32 = (K + 31u) / 32u;
const ITEMS: u32 = SHARE_UNITS + TOP_K * UNITS;

// Adds to the sums of rows 0..3 (near) and 4..7 (far) the products of one unit, of the shared expert or of a choice.
fn add_item(
  token: u32, item: u32, rows: array<u32, ROWS>, near: ptr<function, vec4<f32>>, far: ptr<function, vec4<f32>>,
) {
  let is_share = item < SHARE_UNITS;
  let choice = (max(item, SHARE_UNITS) - SHARE_UNITS) / UNITS;
  let expert = routed_experts[choice];
  if (select(!held(expert), params.with_share == 0u, is_share)) {
    return;
  }
  var unit = item;
  var at = rows;
  var slots: Slots;
  var weight = 1.0;
  if (is_share) {
    slots = load_slots(SHARED, share_row(token), unit);
  } else {
    unit = (item - SHARE_UNITS) % UNITS;
    at = rows_of(expert, rows);
    slots = load_slots(0u, token * X_EACH + choice, unit);
    weight = routed_weight(choice);
  }
  let own = own_of(slots);
  let ahead = vec4<u32>(at[0], at[1], at[2], at[3]);
  let behind = vec4<u32>(at[4], at[5], at[6], at[7]);
  // Both from one text: compiling takes long where there are several.
  for (var i = 0u; i < 2u; i++) {
    let four = select(ahead, behind, i == 1u);
    var quad: WordsQuad;
    if (is_share) {
      quad = quad_in(SHARED, SHARE_K, params.row_begin + four, unit);
    } else {
      quad = load_quad(buffer_of(expert - params.expert_begin), K, four, unit);
    }
    let sums = weight * quad_dot(units_of_quad(quad, unit), own);
    if (i == 0u) {
      *near += sums;
    } else {
      *far += sums;
    }
  }
}

fn load_x4(source: u32, row: u32, quad: u32) -> vec4<f32> {
  if (source == SHARED) {
    return begin4(share_x[row * (SHARE_STRIDE / 4u) + quad], quad, SHARE_K);
  }
  return begin4(x[row * (X_STRIDE / 4u) + quad], quad, K);
}

fn fetch_share(at: u32) -> vec4<u32> {
  return share_w[at];
}

fn fetch_share_word(at: u32) -> u32 {
  return share_w[at / 4u][at % 4u];
}
