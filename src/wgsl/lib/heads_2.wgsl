// A workgroup takes two query heads of a KV head: a number for each of them is a vec2.
alias Heads = vec2<f32>;
const GROUP: u32 = 2u;

// Four columns of the heads, a column after the other.
fn columns_of(rows: array<vec4<f32>, GROUP>) -> array<Heads, 4> {
  let m = transpose(mat2x4<f32>(rows[0], rows[1]));
  return array<Heads, 4>(m[0], m[1], m[2], m[3]);
}

fn head_of(v: Heads, h: u32) -> f32 {
  return v[h];
}
