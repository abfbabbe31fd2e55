// KV cache of e4m3 bytes with an f32 scale per row for matrix units: eight elements per load, as binary16. Their bits are
// of numbers divided by 256 (e4m3_bits); the scale, times 256, multiplies them. Rounding there is 2^-7 times as coarse as
// that of the cache.
@group(0) @binding(5) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> v_cache: array<vec2<u32>>;

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
  return vec4<u32>(e4m3_halves(f.bits.x, scale), e4m3_halves(f.bits.y, scale));
}

fn e4m3_halves(v: u32, scale: f16) -> vec2<u32> {
  let bits = e4m3_bits(v);
  let a = bitcast<vec2<f16>>(bits.x) * scale;
  let b = bitcast<vec2<f16>>(bits.y) * scale;
  return vec2<u32>(bitcast<u32>(vec2<f16>(a.x, b.x)), bitcast<u32>(vec2<f16>(a.y, b.y)));
}
