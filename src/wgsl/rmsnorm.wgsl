// y[token] = gamma * x[token] / sqrt(mean(x[token]^2) + eps): one workgroup per token.
// Used before tiled products; the matrix-vector kernels fold the norm into their own reading of x.
//
// --- specialised ---
const K: u32 = 64u;         // width
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next
const Y_STRIDE: u32 = 64u;  // the same of y
const Y_AT: u32 = 0u;       // where a row's result starts

const WG: u32 = 256u;

struct Params {
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;        // [tokens, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [tokens, Y_STRIDE]
@group(0) @binding(4) var<storage, read> gamma: array<f32>;    // [K], padded to a multiple of 8

var<workgroup> partial: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let source = workgroup_id.x * X_STRIDE;
  let row = workgroup_id.x * Y_STRIDE + Y_AT;
  var sum = 0.0;
  for (var k = li; k < K; k += WG) {
    sum += x[source + k] * x[source + k];
  }
  partial[li] = sum;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (li < half) {
      partial[li] += partial[li + half];
    }
  }
  workgroupBarrier();
  let scale = inverseSqrt(partial[0] / f32(K) + params.eps);
  for (var k = li; k < K; k += WG) {
    y[row + k] = x[source + k] * scale * gamma[k];
  }
}
