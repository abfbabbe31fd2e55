// KV cache rows [rows, D8] as pairs of binary16, decoded without the shader-f16 feature; four elements at a time.
@group(0) @binding(5) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec2<u32>>;

fn load_k4(row: u32, c: u32) -> vec4<f32> {
  let v = k_cache[row * (D8 / 4u) + c];
  return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y));
}

fn k_scale(row: u32) -> f32 {
  return 1.0;
}

fn load_v4(row: u32, c: u32) -> vec4<f32> {
  let v = v_cache[row * (D8 / 4u) + c];
  return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y));
}

fn v_scale(row: u32) -> f32 {
  return 1.0;
}
