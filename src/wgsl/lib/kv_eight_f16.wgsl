// KV cache rows [rows, D8] of binary16, eight elements a load, which stay as they are until they are needed: half as many
// registers. Decoded without the shader-f16 feature.
@group(0) @binding(5) var<storage, read> k_cache: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec4<u32>>;

alias Eight = vec4<u32>;

fn fetch_k(row: u32, eight: u32) -> Eight {
  return k_cache[row * (D8 / 8u) + eight];
}

fn fetch_v(row: u32, eight: u32) -> Eight {
  return v_cache[row * (D8 / 8u) + eight];
}

fn k_scale(row: u32) -> f32 {
  return 1.0;
}

fn v_scale(row: u32) -> f32 {
  return 1.0;
}

fn low_four(e: Eight) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(e.x), unpack2x16float(e.y));
}

fn high_four(e: Eight) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(e.z), unpack2x16float(e.w));
}
