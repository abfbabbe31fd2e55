// How moe_down walks the columns of compressed weights: units of 32 columns, whose x is in registers (unit_slots) for all
// rows (quads).
const SHARE_UNITS: u32 = (SHARE_K + 31u) / 32u;
const UNITS: u32 = (K + 31u) / 32u;
const ITEMS: u32 = SHARE_UNITS + TOP_K * UNITS;

// Adds the products of one unit, of the shared expert or of a choice, to the sums of rows `first` .. first + ROWS - 1.
fn add_item(token: u32, item: u32, first: u32, sums: ptr<function, Sums>) {
  let is_share = item < SHARE_UNITS;
  let choice = (max(item, SHARE_UNITS) - SHARE_UNITS) / UNITS;
  let expert = routed_experts[choice];
  if (select(!held(expert), params.with_share == 0u, is_share)) {
    return;
  }
  var unit = item;
  var row = params.row_begin;
  var slots: Slots;
  var weight = 1.0;
  if (is_share) {
    slots = load_slots(SHARED, share_row(token), unit);
  } else {
    unit = (item - SHARE_UNITS) % UNITS;
    row = row_of(expert);
    slots = load_slots(0u, token * X_EACH + choice, unit);
    weight = routed_weight(choice);
  }
  let own = own_of(slots);
  // All from one text: compiling takes long where there are several.
  for (var i = 0u; i < SUMS; i++) {
    let four = row + four_from(first + i * 4u);
    var quad: WordsQuad;
    if (is_share) {
      quad = quad_in(SHARED, SHARE_K, four, unit);
    } else {
      quad = load_quad(buffer_of(expert - params.expert_begin), K, four, unit);
    }
    // The next sum comes first: after all of them each is where it was.
    let sum = (*sums).a + weight * quad_dot(units_of_quad(quad, unit), own);
    if (SUMS == 2u) {
      (*sums).a = (*sums).b;
      (*sums).b = sum;
    } else {
      *sums = Sums((*sums).b, (*sums).c, (*sums).d, sum);
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
