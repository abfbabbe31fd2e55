// KV cache rows [rows, D8] as f32, eight elements at a time.
@group(0) @binding(5) var<storage, read> k_cache: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec4<f32>>;

struct Eight {
  low: vec4<f32>,
  high: vec4<f32>,
}

fn fetch_k(row: u32, eight: u32) -> Eight {
  let at = row * (D8 / 4u) + eight * 2u;
  return Eight(k_cache[at], k_cache[at + 1u]);
}

fn fetch_v(row: u32, eight: u32) -> Eight {
  let at = row * (D8 / 4u) + eight * 2u;
  return Eight(v_cache[at], v_cache[at + 1u]);
}

fn k_scale(row: u32) -> f32 {
  return 1.0;
}

fn v_scale(row: u32) -> f32 {
  return 1.0;
}

fn low_four(e: Eight) -> vec4<f32> {
  return e.low;
}

fn high_four(e: Eight) -> vec4<f32> {
  return e.high;
}
