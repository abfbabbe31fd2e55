// Results.
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [tokens, y_stride]
