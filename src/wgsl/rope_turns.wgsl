// What every layer of a class needs of a token's place, once per step. The library place_of gives place_of().
struct Params {
  max_pages: u32,  // entries per sequence in page_table; positions of a window wrap around in them
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  place_of(workgroup_id.x, li);
}
