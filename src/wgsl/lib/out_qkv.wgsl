// Results are a query's latent (stored in y), a key (rotated by turn_pairs) and a value, both written to their token's row
// (kv_store_*). Padding rows of key and value have zero weights, which give the zeros that pad the cache.
// --- specialised ---
const K_AT: u32 = 16u;  // where the key's rows start, a multiple of 8; the value's follow D8 later

fn out4(row: u32, n: u32, v: vec4<f32>, count: u32) {
  if (n < K_AT) {
    let at = row * params.y_stride + n;
    for (var i = 0u; i < 4u; i++) {
      y[at + i] = v[i];
    }
    return;
  }
  let cache_row = kv_row(row);
  if (n >= K_AT + D8) {
    let r = n - K_AT - D8;
    store_v2(cache_row, r / 2u, v.xy);
    store_v2(cache_row, r / 2u + 1u, v.zw);
    return;
  }
  let r = n - K_AT;
  if (r >= D) {
    store_k2(cache_row, r / 2u, v.xy);
    store_k2(cache_row, r / 2u + 1u, v.zw);
    return;
  }
  let turned = turn_pairs(turns_of(row, r), v);
  store_k2(cache_row, r / 4u, turned.xy);
  store_k2(cache_row, r / 4u + D / 4u, turned.zw);
}
