// KV cache of e4m3 bytes with an f32 scale per row, four elements at a time and without their scale: k_scale and v_scale
// are applied once per key. Elements are divided by 256 (e4m3x4), so scales are multiplied with it.
@group(0) @binding(5) var<storage, read> k_cache: array<u32>;
@group(0) @binding(6) var<storage, read> v_cache: array<u32>;

fn load_k4(row: u32, c: u32) -> vec4<f32> {
  return e4m3x4(k_cache[kv_word(row, c)]);
}

fn k_scale(row: u32) -> f32 {
  return bitcast<f32>(k_cache[kv_scale_word(row)]) * 256.0;
}

fn load_v4(row: u32, c: u32) -> vec4<f32> {
  return e4m3x4(v_cache[kv_word(row, c)]);
}

fn v_scale(row: u32) -> f32 {
  return bitcast<f32>(v_cache[kv_scale_word(row)]) * 256.0;
}
