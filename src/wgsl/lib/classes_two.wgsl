// Layers are of two classes: those of place_of, and a second one with a page table and frequencies of its own.
//
// --- specialised ---
const HALF_1: u32 = 8u;

@group(0) @binding(9) var<storage, read> page_table_1: array<u32>;          // [sequences, max_pages_1]
@group(0) @binding(10) var<storage, read> frequencies_1: array<vec2<u32>>;  // [HALF_1]
@group(0) @binding(11) var<storage, read_write> cache_rows_1: array<u32>;   // [tokens]
@group(0) @binding(12) var<storage, read_write> turns_1: array<vec2<f32>>;  // [tokens, HALF_1]

fn place_in_class(number: u32, token: u32, li: u32) {
  if (number == 0u) {
    place_of(token, li);
    return;
  }
  let place = places[token];
  if (li == 0u) {
    let page = place.y / PAGE % params.max_pages_1;
    cache_rows_1[token] = page_table_1[place.x * params.max_pages_1 + page] * PAGE + place.y % PAGE;
  }
  for (var i = li; i < HALF_1; i += 64u) {
    turns_1[token * HALF_1 + i] = rotation(place.y, frequencies_1[i]).yx;
  }
}
