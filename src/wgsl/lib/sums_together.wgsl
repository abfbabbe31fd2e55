// Sums over a part of what four rows have, all at once, for parts of 32 in subgroups: each half of the part takes half of the
// sums from the other, then each quarter, and so on, until a lane has one. Sixteen sums take 16 shuffles, where by fours they
// take 24. The kernel gives TOKENS, put and part_sum (of parts_*).

// Rows a, b, c and d of fours q, each with a sum for every token: they are put down as [q, 4 rows, TOKENS].
fn keep_rows(q: u32, turn: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, part: Part) {
  var sum: f32;
  if (TOKENS == 1u) {
    sum = part_sum(vec4<f32>(a.x, b.x, c.x, d.x), q, part);
  }
  if (TOKENS == 2u) {
    let one = sum_pairs(halves(vec4<f32>(a.xy, b.xy), vec4<f32>(c.xy, d.xy), 4u, part), part);
    let two = one + subgroupShuffleXor(one, 8u);
    sum = two + subgroupShuffleXor(two, 16u);
  }
  if (TOKENS == 4u) {
    let one = sum_pairs(halves(halves(a, c, 8u, part), halves(b, d, 8u, part), 4u, part), part);
    sum = one + subgroupShuffleXor(one, 16u);
  }
  if (part.lane < 4u * TOKENS) {
    put(q * 4u * TOKENS + part.lane, turn, sum, part);
  }
}

// Of lanes that differ by `bit`, the one without keeps the sums a, the other b.
fn halves(a: vec4<f32>, b: vec4<f32>, bit: u32, part: Part) -> vec4<f32> {
  let second = (part.lane & bit) != 0u;
  return select(a, b, second) + subgroupShuffleXor(select(b, a, second), bit);
}

// Component lane % 4 of a sum over four neighbours.
fn sum_pairs(v: vec4<f32>, part: Part) -> f32 {
  let second = (part.lane & 2u) != 0u;
  let pair = select(v.xy, v.zw, second) + subgroupShuffleXor(select(v.zw, v.xy, second), 2u);
  let odd = (part.lane & 1u) != 0u;
  return select(pair.x, pair.y, odd) + subgroupShuffleXor(select(pair.y, pair.x, odd), 1u);
}
