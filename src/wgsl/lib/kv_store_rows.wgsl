// Keys and values [tokens, KV heads, D8] as f32 in the order of their tokens, for kv_pack.
@group(0) @binding(7) var<storage, read_write> k_rows: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> v_rows: array<vec2<f32>>;

fn kv_row(token: u32) -> u32 {
  return token;
}

fn store_k2(row: u32, pair: u32, v: vec2<f32>) {
  k_rows[row * (D8 / 2u) + pair] = v;
}

fn store_v2(row: u32, pair: u32, v: vec2<f32>) {
  v_rows[row * (D8 / 2u) + pair] = v;
}
