// Pages of keys and values in binary16, eight elements at a time, with room for those of the step.
@group(0) @binding(5) var<storage, read_write> k_cache: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<vec4<u32>>;

fn store_k(row: u32, eight: u32, v: vec4<u32>) {
  k_cache[row * (D8 / 8u) + eight] = v;
}

fn store_v(row: u32, eight: u32, v: vec4<u32>) {
  v_cache[row * (D8 / 8u) + eight] = v;
}
