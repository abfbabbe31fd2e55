// KV cache rows [rows, D] of binary16 for matrix units: eight elements per load, as they are.

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
