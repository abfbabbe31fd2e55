// Logits as sampling compares them: with the repetition penalty, and as keys, u32s of the same order as the floats.
//
// The kernel gives WG, params with vocab and logits_stride, logits, options, and seen_word(i): word i of seen, a bit per
// token.

const PEAK_BLOCK: u32 = 512u;         // vectors whose largest key logit_peaks finds
const KEY_MINUS_INF: u32 = 0x7fffffu;
const KEY_NAN: u32 = 0u;              // and of tokens beyond the vocabulary

var<workgroup> tree: array<vec2<u32>, WG>;

struct Row {
  logits_at: u32,    // vectors
  seen_at: u32,
  temperature: f32,  // 0: greedy
  top_k: u32,        // 0: off
  top_p: f32,        // 1: off
  min_p: f32,        // 0: off
  penalty: f32,      // 1: off
  seed: vec2<u32>,
}

fn load_row(row: u32, sequence: u32) -> Row {
  let at = sequence * 8u;
  return Row(
    row * (params.logits_stride / 4u), sequence * ((params.vocab + 31u) / 32u), bitcast<f32>(options[at]),
    options[at + 1u], bitcast<f32>(options[at + 2u]), bitcast<f32>(options[at + 3u]), bitcast<f32>(options[at + 4u]),
    vec2<u32>(options[at + 5u], options[at + 6u]));
}

// Keys of the penalised logits of vector i, whose bits are given.
fn keys_of(row: Row, i: u32, given: vec4<u32>) -> vec4<u32> {
  var bits = given;
  if (row.penalty != 1.0) {
    let l = bitcast<vec4<f32>>(bits);
    let penalised = bitcast<vec4<u32>>(select(l * row.penalty, l / row.penalty, l > vec4<f32>(0.0)));
    let word = seen_word(row.seen_at + i / 8u) >> (i % 8u * 4u);
    bits = select(bits, penalised, (vec4<u32>(word) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>(0u));
  }
  bits = select(bits, vec4<u32>(0u), bits == vec4<u32>(0x80000000u));  // both zeros are one
  let keys = bits ^ (bitcast<vec4<u32>>(bitcast<vec4<i32>>(bits) >> vec4<u32>(31u)) | vec4<u32>(0x80000000u));
  let tokens = vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
  let valid = ((bits & vec4<u32>(0x7fffffffu)) <= vec4<u32>(0x7f800000u)) & (tokens < vec4<u32>(params.vocab));
  return select(vec4<u32>(KEY_NAN), keys, valid);
}

// The larger of two (key, token); of equals, the one that comes first.
fn better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y));
}

// The best (key, token) of vector i, whose bits are given.
fn best_of(row: Row, i: u32, given: vec4<u32>) -> vec2<u32> {
  let keys = keys_of(row, i, given);
  let key = max(max(keys.x, keys.y), max(keys.z, keys.w));
  let lane = select(select(select(3u, 2u, keys.z == key), 1u, keys.y == key), 0u, keys.x == key);
  return vec2<u32>(key, i * 4u + lane);
}

// The best of all invocations' (key, token).
fn best_of_all(own: vec2<u32>, li: u32) -> vec2<u32> {
  tree[li] = own;
  for (var width = WG / 4u; width > 0u; width /= 4u) {
    workgroupBarrier();
    if (li < width) {
      tree[li] = better(better(tree[li], tree[li + width]), better(tree[li + 2u * width], tree[li + 3u * width]));
    }
  }
  workgroupBarrier();
  return tree[0];
}
