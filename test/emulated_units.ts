/**
 * matmul_matrix without matrix units: its text with products of matrices written out in plain WGSL, so that everything but
 * those products (staging, decoding, bounds, results) can be checked on any adapter that has binary16.
 */

import type { LinearParams } from '../src/kernels/linear.ts';
import { matmul_matrix } from '../src/kernels/matmul_matrix.ts';
import { HALF_TILE } from '../src/kernels/matrix_layout.ts';
import { type Replacements, replaced, WITHOUT_UNITS } from './emulated.ts';

/**
 * A matrix in workgroup memory is the place where it begins; sums are spread over the 32 lanes of a subgroup. Bounds of loops
 * are not constant, as compilers would take long over unrolled ones.
 */
const PRODUCTS = `
struct Left { at: u32 }
struct Right { at: u32 }
struct Sums { v: array<f32, 8> }

var<private> emulated_lane: u32;

fn emulated_products(a: Left, b: Right, c: Sums) -> Sums {
  var sums = c;
  let none = params.row_count >> 31u;
  for (var i = 0u; i < 8u + none; i++) {
    let e = emulated_lane + i * 32u;
    for (var k = 0u; k < 16u + none; k++) {
      sums.v[i] += half_x(a.at + e / 16u * LD, k) * half_w(b.at, e % 16u, k);
    }
  }
  return sums;
}

fn half_x(at: u32, k: u32) -> f32 {
  return unpack2x16float(xs[at + k / 8u][k / 2u % 4u])[k % 2u];
}

fn half_w(at: u32, row: u32, k: u32) -> f32 {
  return unpack2x16float(ws[at + row * LD_W + k * STEP_W / 16u][k / 2u % (8u / STEP_W)])[k % 2u];
}

fn emulated_store(at: u32, c: Sums) {
  for (var i = 0u; i < 8u + (params.row_count >> 31u); i++) {
    let e = emulated_lane + i * 32u;
    xs[at + e / 16u * 4u * PAIR + e % 16u / 4u][e % 4u] = bitcast<u32>(c.v[i]);
  }
}
`;

/** What is replaced in the text. */
const REPLACED: Replacements = [
  ...WITHOUT_UNITS,
  [/^alias Sums = .*;\n/m, PRODUCTS],
  [/let tile = workgroup_id.x;/, 'let subgroup = li / SIZE;\n  emulated_lane = li % SIZE;\n  $&'],
  // Loops whose end is no constant are not unrolled: less to compile.
  [/block < share.end; block/, 'block < share.end + (params.row_count >> 31u); block'],
  [/step < DEPTH \/ 16u \/ SG_K/, '$& + (params.row_count >> 31u)'],
  [/subgroupMatrixLoad<(Left|Right), \w+>\(&[xw]s, (.*), LD(_W)?\)/g, '$1($2)'],
  [/subgroupMatrixMultiplyAccumulate\(/g, 'emulated_products('],
  [/subgroupMatrixStore<row_major>\(&xs, (.*), (c\d), 4u \* PAIR\)/g, 'emulated_store($1, $2)'],
];

/** Of units of compressed weights: a bound that is not constant, too. */
const UNITS: Replacements[number] = [
  /i < 4u; i\+\+\) {\n {6}let b/,
  'i < 4u + (params.row_count >> 31u); i++) {\n      let b',
];

/** Of tiles of 8: weights lie behind x. */
const HALF: Replacements[number] = [
  /unpack2x16float\(ws\[at \+ row \* LD_W \+ k \* STEP_W \/ 16u\]\[k \/ 2u % \(8u \/ STEP_W\)\]\)/,
  'unpack2x16float(xs[at + row * LD + k / 8u][k / 2u % 4u])',
];

/** The text of a call of matmul_matrix for adapters without matrix units. */
export function emulatedText(text: string): string {
  return replaced(text, [
    ...REPLACED,
    ...(text.includes('Words') ? [UNITS] : []),
    ...(text.includes('const W0') ? [HALF] : []),
  ]);
}

/** Bytes of workgroup memory that a call stages matrices and leaves results in, which may be more than an adapter has. */
export function stagedBytes(p: LinearParams): number {
  const c = matmul_matrix.constants(p) as Record<string, number>;
  const row = (c.DEPTH + 8) * 2;
  const results = c.SG_M * c.SG_N * c.SG_K * Math.min(c.TN, 2) * 1024;
  const weights = 16 * c.TN * c.SG_N * row;
  if (p.tile === HALF_TILE) return Math.max(p.tile * row + weights, results);
  return Math.max(16 * c.TM * c.SG_M * row, results) + weights;
}
