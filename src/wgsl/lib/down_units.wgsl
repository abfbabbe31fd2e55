// How moe_down walks the columns of compressed weights: units of 32 columns.
const SHARE_UNITS: u32 = (SHARE_K + 31u) / 32u;
const UNITS: u32 = (K + 31u) / 32u;
const ITEMS: u32 = SHARE_UNITS + TOP_K * UNITS;

const TOKENS: u32 = 1u;
const SQUARES: u32 = 1u;

// Adds to the sums of rows 0..3 (near) and 4..7 (far) the products of one unit, of the shared expert or of a choice.
fn add_item(
  token: u32, item: u32, rows: array<u32, ROWS>, near: ptr<function, vec4<f32>>, far: ptr<function, vec4<f32>>,
) {
  var sums = array<f32, ROWS>();
  var squares = array<vec4<f32>, SQUARES>();
  var weight = 1.0;
  if (item < SHARE_UNITS) {
    if (params.with_share == 0u) {
      return;
    }
    var units: array<Unit, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
      units[r] = load_unit(SHARED, SHARE_K, params.row_begin + rows[r], item);
    }
    var x_rows = array<u32, TOKENS>(token);
    add_unit(SHARED, item, &units, &x_rows, &sums, &squares);
  } else {
    let choice = (item - SHARE_UNITS) / UNITS;
    let expert = routed_experts[choice];
    if (!held(expert)) {
      return;
    }
    let unit = (item - SHARE_UNITS) % UNITS;
    var units = load_units(buffer_of(expert - params.expert_begin), rows_of(expert, rows), unit);
    var x_rows = array<u32, TOKENS>(token * TOP_K + choice);
    add_unit(0u, unit, &units, &x_rows, &sums, &squares);
    weight = routed_weight(choice);
  }
  *near += weight * vec4<f32>(sums[0], sums[1], sums[2], sums[3]);
  *far += weight * vec4<f32>(sums[4], sums[5], sums[6], sums[7]);
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
