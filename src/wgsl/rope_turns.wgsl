// What every layer needs of a token's place, once per step: the row of the cache where its key and value go, and the
// cosine and sine of its rotary angles.
//
// The library turns gives rotation().
//
// --- specialised ---
const HALF: u32 = 8u;   // half of the elements of a head that are rotated
const PAGE: u32 = 64u;  // positions of a page

struct Params {
  max_pages: u32,  // entries per sequence in page_table; positions of a window wrap around in them
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;       // [tokens] of (sequence, position)
@group(0) @binding(2) var<storage, read> page_table: array<u32>;         // [sequences, max_pages]
@group(0) @binding(3) var<storage, read> frequencies: array<vec2<u32>>;  // [HALF], 64-bit fractions of a turn
@group(0) @binding(4) var<storage, read_write> cache_rows: array<u32>;   // [tokens]
@group(0) @binding(5) var<storage, read_write> turns: array<vec2<f32>>;  // [tokens, HALF] of (cos, sin)

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let token = workgroup_id.x;
  let place = places[token];
  if (li == 0u) {
    let page = place.y / PAGE % params.max_pages;
    cache_rows[token] = page_table[place.x * params.max_pages + page] * PAGE + place.y % PAGE;
  }
  for (var i = li; i < HALF; i += 64u) {
    turns[token * HALF + i] = rotation(place.y, frequencies[i]).yx;
  }
}
