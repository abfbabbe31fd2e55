// KV cache rows [rows, D] of binary16 for matrix units: eight elements per load, as they are.
@group(0) @binding(5) var<storage, read> k_cache: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec4<u32>>;

alias Fetched = vec4<u32>;

fn fetch_k(row: u32, step: u32) -> Fetched {
  return k_cache[row * (D / 8u) + step];
}

fn fetch_v(row: u32, step: u32) -> Fetched {
  return v_cache[row * (D / 8u) + step];
}

fn halves(f: Fetched) -> vec4<u32> {
  return f;
}
