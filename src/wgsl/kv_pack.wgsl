// New keys and values into their rows of an e4m3 cache. A row's scale is its largest magnitude / 448, the largest e4m3
// number, so that nothing overflows; a row of zeros has a scale of 1. One workgroup per row, with one barrier.
//
// The library kv_pages gives the places.
//
// --- specialised ---
const KV_HEADS: u32 = 1u;
const D: u32 = 16u;     // head_dim; rows are padded to D8
const PAGE: u32 = 64u;  // positions of a page

const D8: u32 = (D + 7u) / 8u * 8u;
const WG: u32 = 64u;

@group(0) @binding(1) var<storage, read> cache_rows: array<u32>;         // [tokens]
@group(0) @binding(2) var<storage, read> k_rows: array<vec4<f32>>;       // [tokens, KV_HEADS, D8]
@group(0) @binding(3) var<storage, read> v_rows: array<vec4<f32>>;       // [tokens, KV_HEADS, D8]
@group(0) @binding(4) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(5) var<storage, read_write> v_cache: array<u32>;

var<workgroup> peak: atomic<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let head = workgroup_id.x;
  let token = workgroup_id.y;
  let of_key = workgroup_id.z == 0u;
  let source = (token * KV_HEADS + head) * ROW_WORDS;
  // As integers, magnitudes are in the same order, and NaN is above all: it ends up in the scale and does not get lost.
  var most = vec4<u32>(0u);
  for (var c = li; c < ROW_WORDS; c += WG) {
    most = max(most, bitcast<vec4<u32>>(load4(source + c, of_key)) & vec4<u32>(0x7fffffffu));
  }
  atomicMax(&peak, max(max(most.x, most.y), max(most.z, most.w)));
  workgroupBarrier();
  let quotient = bitcast<f32>(atomicLoad(&peak)) / 448.0;
  // Below the smallest normal number, which devices may take for 0, as for 0 itself.
  let scale = select(quotient, 1.0, quotient < 1.1754944e-38);
  let row = cache_rows[token] * KV_HEADS + head;
  for (var c = li; c < ROW_WORDS; c += WG) {
    let v = load4(source + c, of_key) / scale;
    store(kv_word(row, c), e4m3(v.x) | (e4m3(v.y) << 8u) | (e4m3(v.z) << 16u) | (e4m3(v.w) << 24u), of_key);
  }
  if (li == 0u) {
    store(kv_scale_word(row), bitcast<u32>(scale), of_key);
  }
}

fn load4(at: u32, of_key: bool) -> vec4<f32> {
  if (of_key) {
    return k_rows[at];
  }
  return v_rows[at];
}

fn store(at: u32, word: u32, of_key: bool) {
  if (of_key) {
    k_cache[at] = word;
  } else {
    v_cache[at] = word;
  }
}

// The e4m3 byte nearest to v, ties to even; at most 448.
fn e4m3(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  let sign = (bits >> 24u) & 0x80u;
  let magnitude = abs(v);
  if (magnitude < 0.015625) {
    return sign | u32(round(magnitude * 512.0));  // subnormal, or the smallest normal number
  }
  let a = bits & 0x7fffffffu;
  // Rounded at 3 of 23 mantissa bits; the exponent's bias goes from 127 to 7.
  let rounded = ((a + 0x7ffffu + ((a >> 20u) & 1u)) >> 20u) - (120u << 3u);
  return sign | min(rounded, 0x7eu);
}
