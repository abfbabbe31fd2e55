// What the layers of a class need of a token's place: the row of the cache where its key and value go, and the cosine and
// sine of its rotary angles. The kernel gives params.max_pages, entries per sequence in page_table, in which positions of a
// window wrap around; the library turns gives rotation().
//
// --- specialised ---
const HALF: u32 = 8u;   // half of the elements of a head that are rotated
const PAGE: u32 = 64u;  // positions of a page

@group(0) @binding(4) var<storage, read> places: array<vec2<u32>>;       // [tokens] of (sequence, position)
@group(0) @binding(5) var<storage, read> page_table: array<u32>;         // [sequences, max_pages]
@group(0) @binding(6) var<storage, read> frequencies: array<vec2<u32>>;  // [HALF], 64-bit fractions of a turn
@group(0) @binding(7) var<storage, read_write> cache_rows: array<u32>;   // [tokens]
@group(0) @binding(8) var<storage, read_write> turns: array<vec2<f32>>;  // [tokens, HALF] of (cos, sin)

// For a workgroup of 64.
fn place_of(token: u32, li: u32) {
  let place = places[token];
  if (li == 0u) {
    let page = place.y / PAGE % params.max_pages;
    cache_rows[token] = page_table[place.x * params.max_pages + page] * PAGE + place.y % PAGE;
  }
  for (var i = li; i < HALF; i += 64u) {
    turns[token * HALF + i] = rotation(place.y, frequencies[i]).yx;
  }
}
