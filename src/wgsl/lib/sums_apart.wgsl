// Sums over a part of what four rows have, four at a time, for parts of any size. The kernel gives TOKENS, put and part_sum (of
// parts_*).

// Rows a, b, c and d of fours q, each with a sum for every token: they are put down as [q, 4 rows, TOKENS].
fn keep_rows(q: u32, turn: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, part: Part) {
  if (TOKENS == 1u) {
    keep(q, turn, vec4<f32>(a.x, b.x, c.x, d.x), part);
  }
  if (TOKENS == 2u) {
    keep(q * 2u, turn, vec4<f32>(a.xy, b.xy), part);
    keep(q * 2u + 1u, turn, vec4<f32>(c.xy, d.xy), part);
  }
  if (TOKENS == 4u) {
    keep(q * 4u, turn, a, part);
    keep(q * 4u + 1u, turn, b, part);
    keep(q * 4u + 2u, turn, c, part);
    keep(q * 4u + 3u, turn, d, part);
  }
}

// Number i of the fours of sums of the workgroup.
fn keep(i: u32, turn: u32, sums: vec4<f32>, part: Part) {
  let sum = part_sum(sums, i, part);
  if (part.lane < 4u) {
    put(i * 4u + part.lane, turn, sum, part);
  }
}
