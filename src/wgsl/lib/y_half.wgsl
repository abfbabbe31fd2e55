// Results as pairs of binary16.
@group(0) @binding(3) var<storage, read_write> y: array<u32>;  // [tokens, y_stride / 2]
