// A workgroup takes one query head: a number for it is a float.
alias Heads = f32;
const GROUP: u32 = 1u;

// Four columns of the heads, a column after the other.
fn columns_of(rows: array<vec4<f32>, GROUP>) -> array<Heads, 4> {
  return array<Heads, 4>(rows[0].x, rows[0].y, rows[0].z, rows[0].w);
}

fn head_of(v: Heads, h: u32) -> f32 {
  return v;
}
