// Loads of compressed weights that lie in one buffer, or (SHARED) in that of a second matrix.
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;

const BUFFERS: u32 = 1u;

fn buffer_of(expert: u32) -> u32 {
  return 0u;
}

fn expert_in_buffer(expert: u32) -> u32 {
  return expert;
}

fn fetch(source: u32, at: u32) -> vec4<u32> {
  if (source == SHARED) {
    return fetch_share(at);
  }
  return w[at];
}

fn fetch_word(source: u32, at: u32) -> u32 {
  if (source == SHARED) {
    return fetch_share_word(at);
  }
  return w[at / 4u][at % 4u];
}
