// Loads of compressed weights of experts that lie in five buffers: the first BUFFER_EXPERTS in w, the next in w1, and so
// on; or (SHARED) in that of a second matrix.
// --- specialised ---
const BUFFER_EXPERTS: u32 = 1u;  // experts of each buffer but the last

@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(13) var<storage, read> w1: array<vec4<u32>>;
@group(0) @binding(14) var<storage, read> w2: array<vec4<u32>>;
@group(0) @binding(15) var<storage, read> w3: array<vec4<u32>>;
@group(0) @binding(17) var<storage, read> w4: array<vec4<u32>>;

const BUFFERS: u32 = 5u;

fn buffer_of(expert: u32) -> u32 {
  return expert / BUFFER_EXPERTS;
}

fn expert_in_buffer(expert: u32) -> u32 {
  return expert % BUFFER_EXPERTS;
}

fn fetch(source: u32, at: u32) -> vec4<u32> {
  if (source == SHARED) {
    return fetch_share(at);
  }
  if (source == 4u) {
    return w4[at];
  }
  if (source == 3u) {
    return w3[at];
  }
  if (source == 2u) {
    return w2[at];
  }
  if (source == 1u) {
    return w1[at];
  }
  return w[at];
}

fn fetch_word(source: u32, at: u32) -> u32 {
  if (source == SHARED) {
    return fetch_share_word(at);
  }
  if (source == 4u) {
    return w4[at / 4u][at % 4u];
  }
  if (source == 3u) {
    return w3[at / 4u][at % 4u];
  }
  if (source == 2u) {
    return w2[at / 4u][at % 4u];
  }
  if (source == 1u) {
    return w1[at / 4u][at % 4u];
  }
  return w[at / 4u][at % 4u];
}
