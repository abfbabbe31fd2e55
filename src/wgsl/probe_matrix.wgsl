// results = rounds * (A B) on matrix units, eight independent sums a subgroup: how fast they can be at all.
//
// --- specialised ---
const ROUNDS: u32 = 4u;  // products of each sum

const WG: u32 = 256u;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

@group(0) @binding(1) var<storage, read> a: array<f16>;              // [16, 16]
@group(0) @binding(2) var<storage, read> b: array<f16>;              // [16, 16]
@group(0) @binding(3) var<storage, read_write> results: array<f32>;  // [workgroups, 8 subgroups, 16, 16]

@compute @workgroup_size(WG) @diagnostic(off, chromium.subgroup_matrix_uniformity) @diagnostic(off, subgroup_uniformity)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(subgroup_id) subgroup: u32) {
  let left = subgroupMatrixLoad<Left, row_major>(&a, 0u, 16u);
  let right = subgroupMatrixLoad<Right, row_major>(&b, 0u, 16u);
  var c0: Sums;
  var c1: Sums;
  var c2: Sums;
  var c3: Sums;
  var c4: Sums;
  var c5: Sums;
  var c6: Sums;
  var c7: Sums;
  for (var round = 0u; round < ROUNDS; round++) {
    c0 = subgroupMatrixMultiplyAccumulate(left, right, c0);
    c1 = subgroupMatrixMultiplyAccumulate(left, right, c1);
    c2 = subgroupMatrixMultiplyAccumulate(left, right, c2);
    c3 = subgroupMatrixMultiplyAccumulate(left, right, c3);
    c4 = subgroupMatrixMultiplyAccumulate(left, right, c4);
    c5 = subgroupMatrixMultiplyAccumulate(left, right, c5);
    c6 = subgroupMatrixMultiplyAccumulate(left, right, c6);
    c7 = subgroupMatrixMultiplyAccumulate(left, right, c7);
  }
  // Every sum is stored, so that none is left out as unused; they are equal, so the last one may stand for all.
  let at = (workgroup_id.x * 8u + subgroup) * 256u;
  subgroupMatrixStore<row_major>(&results, at, c0, 16u);
  subgroupMatrixStore<row_major>(&results, at, c1, 16u);
  subgroupMatrixStore<row_major>(&results, at, c2, 16u);
  subgroupMatrixStore<row_major>(&results, at, c3, 16u);
  subgroupMatrixStore<row_major>(&results, at, c4, 16u);
  subgroupMatrixStore<row_major>(&results, at, c5, 16u);
  subgroupMatrixStore<row_major>(&results, at, c6, 16u);
  subgroupMatrixStore<row_major>(&results, at, c7, 16u);
}
