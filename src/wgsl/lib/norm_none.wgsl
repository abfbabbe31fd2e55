// The input of a linear layer as it is.
const NORMED: bool = false;

fn norm_x(x: Block8, block: u32) -> Block8 {
  return x;
}

fn norm_x4(x: vec4<f32>, quad: u32) -> vec4<f32> {
  return x;
}

fn norm_scale(sum_of_squares: f32) -> f32 {
  return 1.0;
}
