// KV cache rows [rows, D] of binary16 for matrix units: eight elements per load, staged as they are.

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

// Eight elements, such as those of a query, as binary16 in the order that keys and values are staged in.
fn staged_halves(lo: vec4<f32>, hi: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(pack2x16float(lo.xy), pack2x16float(lo.zw), pack2x16float(hi.xy), pack2x16float(hi.zw));
}

// Four columns of a result, from that order.
fn in_order(v: vec4<f32>) -> vec4<f32> {
  return v;
}
