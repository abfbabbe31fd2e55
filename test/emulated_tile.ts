/**
 * mfa_tile without matrix units: its text with products of matrices and exchanges within subgroups written out in plain WGSL,
 * so that everything else (places, pages, staging, softmax, bounds, results) can be checked on any adapter that has binary16.
 */

import type { QuadParams } from '../src/kernels/mfa_quad.ts';
import { mfa_tile } from '../src/kernels/mfa_tile.ts';
import { type Replacements, replaced, WITHOUT_UNITS } from './emulated.ts';

/** A matrix in workgroup memory is the place where it begins; sums are spread over the 32 lanes of a subgroup. */
const PRODUCTS = `
struct Left { at: u32, stride: u32 }
struct Right { at: u32, across: bool }
struct Sums { v: array<f32, 8> }

var<private> emulated_lane: u32;
var<private> emulated_index: u32;
var<workgroup> exchanged: array<f32, WG>;

fn emulated_products(a: Left, b: Right, c: Sums) -> Sums {
  var sums = c;
  // Bounds of loops are not constant, as compilers would take long over unrolled ones.
  let none = params.splits >> 31u;
  for (var i = 0u; i < 8u + none; i++) {
    let e = emulated_lane + i * 32u;
    for (var k = 0u; k < 16u + none; k++) {
      let left = unpack2x16float(qp[a.at + e / 16u * a.stride + k / 4u][k / 2u % 2u])[k % 2u];
      let along = select(e % 16u, k, b.across);  // the row that is staged
      let column = select(k, e % 16u, b.across);
      let right = unpack2x16float(kv[b.at + along * LD + column / 8u][column / 2u % 4u])[column % 2u];
      sums.v[i] += left * right;
    }
  }
  return sums;
}

fn emulated_store_s(at: u32, c: Sums) {
  for (var i = 0u; i < 8u + (params.splits >> 31u); i++) {
    let e = emulated_lane + i * 32u;
    s[at + e / 16u * LD_S + e % 16u / 4u][e % 4u] = c.v[i];
  }
}

fn emulated_store_kv(at: u32, c: Sums) {
  for (var i = 0u; i < 8u + (params.splits >> 31u); i++) {
    let e = emulated_lane + i * 32u;
    kv[at + e / 16u * LD_O + e % 16u / 4u][e % 4u] = bitcast<u32>(c.v[i]);
  }
}

fn emulated_shuffle(own: f32, li: u32, mask: u32) -> f32 {
  workgroupBarrier();
  exchanged[li] = own;
  workgroupBarrier();
  return exchanged[li ^ mask];
}
`;

/** What is replaced in the text. */
const REPLACED: Replacements = [
  ...WITHOUT_UNITS,
  [/^alias Sums = .*;\n/m, PRODUCTS],
  [/let sg = subgroup % 8u;/, 'let sg = li / SIZE;\n  emulated_lane = li % SIZE;\n  emulated_index = li;'],
  [/subgroupShuffleXor\((\w+), mask\)/g, 'emulated_shuffle($1, emulated_index, mask)'],
  [/subgroupMatrixLoad<Left, row_major>\(&qp, (.*), (LD_\w)\)/g, 'Left($1, $2)'],
  [/subgroupMatrixLoad<Right, col_major>\(&kv, (.*), LD\)/g, 'Right($1, false)'],
  [/subgroupMatrixLoad<Right, row_major>\(&kv, (.*), LD\)/g, 'Right($1, true)'],
  [/subgroupMatrixMultiplyAccumulate\(/g, 'emulated_products('],
  [/subgroupMatrixStore<row_major>\(&(s|kv), (.*), (\w+), LD_\w\)/g, 'emulated_store_$1($2, $3)'],
];

/** What only texts that write an fp8 cache have: an exchange of integers. */
const OF_INTEGERS = [
  /subgroupShuffleXor\(peak, mask\)/,
  'bitcast<u32>(emulated_shuffle(bitcast<f32>(peak), emulated_index, mask))',
] as const;

/** The text of a call of mfa_tile for adapters without matrix units. */
export function emulatedTile(text: string): string {
  return replaced(text.replace(...OF_INTEGERS), REPLACED);
}

/** Bytes of workgroup memory that a call takes with what is written out, which may be more than an adapter has. */
export function tileBytes(p: QuadParams): number {
  const { D, TILES } = mfa_tile.constants(p) as Record<string, number>;
  const blocks = 64 * (D / 8 + 1) + 16 * 17 + 8 * Math.max(D / 4 + 2, TILES * 16 + 2);
  return 16 * (blocks + 16 * TILES + 16 + 64);
}
