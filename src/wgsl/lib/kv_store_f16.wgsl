// KV cache rows [rows, D8] as pairs of binary16, written four elements at a time without the shader-f16 feature.
@group(0) @binding(7) var<storage, read_write> k_cache: array<vec2<u32>>;
@group(0) @binding(8) var<storage, read_write> v_cache: array<vec2<u32>>;

fn store_k4(row: u32, c: u32, v: vec4<f32>) {
  k_cache[row * (D8 / 4u) + c] = vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}

fn store_v4(row: u32, c: u32, v: vec4<f32>) {
  v_cache[row * (D8 / 4u) + c] = vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}
