// KV cache rows [rows, D8] as f32, read four elements at a time.
@group(0) @binding(5) var<storage, read> k_cache: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec4<f32>>;

fn load_k4(row: u32, c: u32) -> vec4<f32> {
  return k_cache[row * (D8 / 4u) + c];
}

fn k_scale(row: u32) -> f32 {
  return 1.0;
}

fn load_v4(row: u32, c: u32) -> vec4<f32> {
  return v_cache[row * (D8 / 4u) + c];
}

fn v_scale(row: u32) -> f32 {
  return 1.0;
}
