// KV cache of e4m3 bytes with an f32 scale per row for matrix units: eight elements per load, as binary16. Their bits are
// of numbers divided by 256 (e4m3_bits); the scale, times 256, multiplies them. Rounding there is 2^-7 times as coarse as
// that of the cache.
//
// They are staged as their bits come, of four elements the first and the third, then the second and the fourth: products with
// queries in the same order do not see that, and results undo it.

struct Fetched {
  bits: vec2<u32>,
  scale: u32,
}

fn fetch_k(row: u32, step: u32) -> Fetched {
  let scale = kv_scale_word(row);
  return Fetched(k_cache[kv_word(row, step * 2u) / 2u], k_cache[scale / 2u][scale % 2u]);
}

fn fetch_v(row: u32, step: u32) -> Fetched {
  let scale = kv_scale_word(row);
  return Fetched(v_cache[kv_word(row, step * 2u) / 2u], v_cache[scale / 2u][scale % 2u]);
}

fn halves(f: Fetched) -> vec4<u32> {
  let scale = f16(bitcast<f32>(f.scale) * 256.0);
  let low = e4m3_bits(f.bits.x);
  let high = e4m3_bits(f.bits.y);
  return vec4<u32>(scaled(low.x, scale), scaled(low.y, scale), scaled(high.x, scale), scaled(high.y, scale));
}

fn scaled(bits: u32, scale: f16) -> u32 {
  return bitcast<u32>(bitcast<vec2<f16>>(bits) * scale);
}

// Eight elements, such as those of a query, as binary16 in the order that keys and values are staged in.
fn staged_halves(lo: vec4<f32>, hi: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(pack2x16float(lo.xz), pack2x16float(lo.yw), pack2x16float(hi.xz), pack2x16float(hi.yw));
}

// Four columns of a result, from that order.
fn in_order(v: vec4<f32>) -> vec4<f32> {
  return v.xzyw;
}
