// Pages of keys and values in binary16, eight elements at a time, with room for those of the step.
@group(0) @binding(5) var<storage, read_write> k_cache: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<vec4<u32>>;

// Eight elements as they are stored.
fn packed_eight(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(
    pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}

fn store_k(row: u32, eight: u32, v: vec4<u32>) {
  k_cache[row * (D8 / 8u) + eight] = v;
}

fn store_v(row: u32, eight: u32, v: vec4<u32>) {
  v_cache[row * (D8 / 8u) + eight] = v;
}
