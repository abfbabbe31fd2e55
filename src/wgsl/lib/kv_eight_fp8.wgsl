// KV cache of e4m3 bytes with an f32 scale per row, eight elements a load, which stay as they are until they are needed, and
// without their scale: k_scale and v_scale are applied once per key. Elements are divided by 256 (e4m3x4), so scales are
// multiplied with it.
@group(0) @binding(5) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec2<u32>>;

alias Eight = vec2<u32>;

fn fetch_k(row: u32, eight: u32) -> Eight {
  return k_cache[kv_word(row, eight * 2u) / 2u];
}

fn fetch_v(row: u32, eight: u32) -> Eight {
  return v_cache[kv_word(row, eight * 2u) / 2u];
}

fn k_scale(row: u32) -> f32 {
  let word = kv_scale_word(row);
  return bitcast<f32>(k_cache[word / 2u][word % 2u]) * 256.0;
}

fn v_scale(row: u32) -> f32 {
  let word = kv_scale_word(row);
  return bitcast<f32>(v_cache[word / 2u][word % 2u]) * 256.0;
}

fn low_four(e: Eight) -> vec4<f32> {
  return e4m3x4(e.x);
}

fn high_four(e: Eight) -> vec4<f32> {
  return e4m3x4(e.y);
}
