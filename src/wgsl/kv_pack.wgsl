// New keys and values into their rows of an e4m3 cache. One workgroup per row, with one barrier.
//
// Library files give the places (kv_pages), and scales and bytes (e4m3_row).
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
  var most = 0u;
  for (var c = li; c < ROW_WORDS; c += WG) {
    most = max(most, magnitude4(load4(source + c, of_key)));
  }
  atomicMax(&peak, most);
  workgroupBarrier();
  let scale = row_scale(atomicLoad(&peak));
  let row = cache_rows[token] * KV_HEADS + head;
  for (var c = li; c < ROW_WORDS; c += WG) {
    store(kv_word(row, c), e4m3_word(load4(source + c, of_key), 1.0 / scale), of_key);
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
