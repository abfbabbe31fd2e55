// KV cache rows [rows, D8] as f32, written two elements at a time.
@group(0) @binding(7) var<storage, read_write> k_cache: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> v_cache: array<vec2<f32>>;
@group(0) @binding(9) var<storage, read> cache_rows: array<u32>;  // [tokens]

fn kv_row(token: u32) -> u32 {
  return cache_rows[token];
}

fn store_k2(row: u32, pair: u32, v: vec2<f32>) {
  k_cache[row * (D8 / 2u) + pair] = v;
}

fn store_v2(row: u32, pair: u32, v: vec2<f32>) {
  v_cache[row * (D8 / 2u) + pair] = v;
}
