// y[token] = gamma * x[token] / sqrt(mean(x[token]^2) + eps): one workgroup per token.
// Used before tiled products; the matrix-vector kernels fold the norm into their own reading of x.
//
// --- specialised ---
const K: u32 = 64u;         // width
const X_STRIDE: u32 = 64u;  // elements from one row of x to the next
const Y_STRIDE: u32 = 64u;  // the same of y
const Y_AT: u32 = 0u;       // where a row's result starts
const WG: u32 = 64u;        // invocations of a workgroup, a power of two

const QUADS: u32 = (K + 3u) / 4u;
const EACH: u32 = (QUADS + WG - 1u) / WG;  // groups of four elements of an invocation

struct Params {
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;      // [tokens, X_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // [tokens, Y_STRIDE]
@group(0) @binding(4) var<storage, read> gamma: array<vec4<f32>>;  // [K], padded to a multiple of 8

var<workgroup> partial: array<f32, WG>;

// All of a row is asked for before anything waits, and stays in registers.
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) li: u32) {
  let source = workgroup_id.x * (X_STRIDE / 4u);
  var own: array<vec4<f32>, EACH>;
  var gains: array<vec4<f32>, EACH>;
  for (var i = 0u; i < EACH; i++) {
    let quad = min(i * WG + li, QUADS - 1u);
    own[i] = x[source + quad];
    gains[i] = gamma[quad];
  }
  var squares = vec4<f32>(0.0);
  for (var i = 0u; i < EACH; i++) {
    let k = (i * WG + li) * 4u;
    // Nothing beyond the last column counts.
    let in_row = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(K);
    own[i] = select(vec4<f32>(0.0), own[i], in_row);
    squares += own[i] * own[i];
  }
  partial[li] = dot(squares, vec4<f32>(1.0));
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (li < half) {
      partial[li] += partial[li + half];
    }
  }
  workgroupBarrier();
  let scale = inverseSqrt(partial[0] / f32(K) + params.eps);
  let row = workgroup_id.x * Y_STRIDE + Y_AT;
  for (var i = 0u; i < EACH; i++) {
    let k = (i * WG + li) * 4u;
    let result = own[i] * scale * gains[i];
    for (var c = 0u; c < 4u; c++) {
      if (k + c < K) {
        y[row + k + c] = result[c];
      }
    }
  }
}
