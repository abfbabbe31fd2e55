// A workgroup multiplies all columns of its rows of w, and its sums are results.

// Rows of w from `first` on, and their blocks of columns.
struct Share {
  first: u32,
  begin: u32,
  end: u32,
}

fn share_of(workgroup: u32) -> Share {
  return Share(workgroup * ROWS, 0u, BLOCKS);
}

// Whether sums are only a part of a result, and have been put down as that.
fn is_part(share: Share, row: u32, n: u32, v: vec4<f32>) -> bool {
  return false;
}
