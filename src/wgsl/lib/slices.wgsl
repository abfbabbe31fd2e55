// How what a query sees is cut into slices. The kernel gives params.splits and params.split_len.

// Positions of a slice of `seen`: the smallest multiple of split_len of which there are `splits` at most.
fn slice_length(seen: u32) -> u32 {
  let round = params.splits * params.split_len;
  return params.split_len * ((seen + round - 1u) / round);
}
