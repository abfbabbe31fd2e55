// Pages of keys and values in e4m3, eight elements or two scales at a time, with room for those of the step.
@group(0) @binding(5) var<storage, read_write> k_cache: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<vec2<u32>>;

// Eight elements of a new row as the cache has them; its others are with neighbours in the subgroup.
fn kept(v: Pair) -> Fetched {
  var peak = max(magnitude4(v.low), magnitude4(v.high));
  for (var mask = 1u; mask < STEPS; mask *= 2u) {
    peak = max(peak, subgroupShuffleXor(peak, mask));
  }
  let scale = row_scale(peak);
  let inverse = 1.0 / scale;
  return Fetched(vec2<u32>(e4m3_word(v.low, inverse), e4m3_word(v.high, inverse)), bitcast<u32>(scale));
}

fn store_k(row: u32, step: u32, v: Fetched) {
  k_cache[kv_word(row, step * 2u) / 2u] = v.bits;
  if (step == 0u) {
    let at = kv_scale_word(row);
    k_cache[at / 2u][at % 2u] = v.scale;
  }
}

fn store_v(row: u32, step: u32, v: Fetched) {
  v_cache[kv_word(row, step * 2u) / 2u] = v.bits;
  if (step == 0u) {
    let at = kv_scale_word(row);
    v_cache[at / 2u][at % 2u] = v.scale;
  }
}
