// For kernels without a second matrix.
fn fetch_share(at: u32) -> vec4<u32> {
  return vec4<u32>(0u);
}

fn fetch_share_word(at: u32) -> u32 {
  return 0u;
}
