// Pages of keys and values in binary16, eight elements at a time, with room for those of the step.
@group(0) @binding(5) var<storage, read_write> k_cache: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<vec4<u32>>;

// Eight elements of a new row as the cache has them.
fn kept(v: Pair) -> Fetched {
  return staged_halves(v.low, v.high);
}

fn store_k(row: u32, step: u32, v: Fetched) {
  k_cache[row * STEPS + step] = v;
}

fn store_v(row: u32, step: u32, v: Fetched) {
  v_cache[row * STEPS + step] = v;
}
