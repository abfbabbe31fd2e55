// How moe_down walks the columns of compressed weights: units of 32 columns.
const SHARE_UNITS: u32 = (SHARE_K + 31u) / 32u;
const UNITS: u32 = (K + 31u) / 32u;
const ITEMS: u32 = SHARE_UNITS + TOP_K * UNITS;

// Adds to the sums of rows 0..3 (near) and 4..7 (far) the products of one unit, of the shared expert or of a choice.
fn add_item(
  token: u32, item: u32, rows: array<u32, ROWS>, near: ptr<function, vec4<f32>>, far: ptr<function, vec4<f32>>,
) {
  if (item < SHARE_UNITS) {
    if (params.with_share != 0u) {
      let own = own_of(load_slots(SHARED, token, item));
      let row = params.row_begin;
      *near += quad_dot(quad_in(SHARED, SHARE_K, row + vec4<u32>(rows[0], rows[1], rows[2], rows[3]), item), own);
      *far += quad_dot(quad_in(SHARED, SHARE_K, row + vec4<u32>(rows[4], rows[5], rows[6], rows[7]), item), own);
    }
    return;
  }
  let choice = (item - SHARE_UNITS) / UNITS;
  let expert = routed_experts[choice];
  if (held(expert)) {
    let unit = (item - SHARE_UNITS) % UNITS;
    let buffer = buffer_of(expert - params.expert_begin);
    let at = rows_of(expert, rows);
    let own = own_of(load_slots(0u, token * TOP_K + choice, unit));
    let weight = routed_weight(choice);
    *near += weight * quad_dot(load_quad(buffer, K, vec4<u32>(at[0], at[1], at[2], at[3]), unit), own);
    *far += weight * quad_dot(load_quad(buffer, K, vec4<u32>(at[4], at[5], at[6], at[7]), unit), own);
  }
}

fn load_x4(source: u32, row: u32, quad: u32) -> vec4<f32> {
  if (source == SHARED) {
    return begin4(share_x[row * (SHARE_BLOCKS * 2u) + quad], quad, SHARE_K);
  }
  return begin4(x[row * (X_STRIDE / 4u) + quad], quad, K);
}

fn fetch_share(at: u32) -> vec4<u32> {
  return share_w[at];
}

fn fetch_share_word(at: u32) -> u32 {
  return share_w[at / 4u][at % 4u];
}
