/**
 * mfa_prefill without matrix units: its text with products of matrices and exchanges within subgroups written out in plain
 * WGSL, so that everything else (runs, places, pages, staging, softmax, moving references, results) can be checked on any
 * adapter that has binary16 and workgroup memory enough.
 */

import { mfa_prefill, type PrefillParams } from '../src/kernels/mfa_prefill.ts';
import { type Replacements, replaced, WITHOUT_UNITS } from './emulated.ts';

/**
 * A matrix in workgroup memory is the place where it begins, one of queries their first row and column; sums are spread over the
 * 32 lanes of a subgroup. Values are exchanged through `p`, which nobody needs at that time.
 */
const PRODUCTS = `
struct Left { at: u32, column: u32, queries: bool }
struct Right { at: u32, across: bool }
struct Sums { v: array<f32, 8> }

var<private> emulated_lane: u32;
var<private> emulated_rows: Rows;

fn emulated_left(a: Left, row: u32, k: u32) -> f32 {
  if (!a.queries) {
    return unpack2x16float(p[a.at + row * LD_P + k / 8u][k / 2u % 4u])[k % 2u];
  }
  let own = a.at + row;
  let token = params.token_begin + emulated_rows.first + min(own / PER_KV, emulated_rows.count - 1u);
  // In the order of keys.
  let order_of = in_order(vec4<f32>(0.0, 1.0, 2.0, 3.0));
  let order = array<u32, 4>(0u, u32(order_of.y), u32(order_of.z), 3u);
  let at = (token * HEADS + emulated_rows.head0 + own % PER_KV) * D + a.column + k / 4u * 4u + order[k % 4u];
  return unpack2x16float(pack2x16float(vec2<f32>(q_rope[at / 4u][at % 4u] * (params.scale * LOG2_E))))[0];
}

fn emulated_products(a: Left, b: Right, c: Sums) -> Sums {
  var sums = c;
  // Bounds of loops are not constant, as compilers would take long over unrolled ones.
  let none = params.splits >> 31u;
  for (var i = 0u; i < 8u + none; i++) {
    let e = emulated_lane + i * 32u;
    for (var k = 0u; k < 16u + none; k++) {
      let along = select(e % 16u, k, b.across);  // the row that is staged
      let column = select(k, e % 16u, b.across);
      let right = unpack2x16float(kv[b.at + along * LD + column / 8u][column / 2u % 4u])[column % 2u];
      sums.v[i] += emulated_left(a, e / 16u, k) * right;
    }
  }
  return sums;
}

fn emulated_store(at: u32, c: Sums, stride: u32) {
  for (var i = 0u; i < 8u + (params.splits >> 31u); i++) {
    let e = emulated_lane + i * 32u;
    s[at + e / 16u * stride + e % 16u / 4u][e % 4u] = c.v[i];
  }
}

fn emulated_load(at: u32, stride: u32) -> Sums {
  var c: Sums;
  for (var i = 0u; i < 8u + (params.splits >> 31u); i++) {
    let e = emulated_lane + i * 32u;
    c.v[i] = s[at + e / 16u * stride + e % 16u / 4u][e % 4u];
  }
  return c;
}

fn emulated_shuffle(own: f32, li: u32, mask: u32) -> f32 {
  workgroupBarrier();
  p[li].x = bitcast<u32>(own);
  workgroupBarrier();
  let other = bitcast<f32>(p[li ^ mask].x);
  workgroupBarrier();
  return other;
}
`;

/** What is replaced in the text. */
const REPLACED: Replacements = [
  ...WITHOUT_UNITS,
  [/^alias Sums = .*;\n/m, PRODUCTS],
  [/let sg = subgroup % 8u;/, 'let sg = li / SIZE;\n  emulated_lane = li % SIZE;\n  emulated_rows = rows;'],
  [/subgroupShuffleXor\((\w+), (\du)\)/g, 'emulated_shuffle($1, li, $2)'],
  [
    /a(\d+) = subgroupMatrixLoad<Left, row_major>\(&kv, .*, LD\)/g,
    'a$1 = Left(quarter * TALL * 16u, $1u * 16u, true)',
  ],
  [
    /b(\d+) = subgroupMatrixLoad<Left, row_major>\(&kv, .*, LD\)/g,
    'b$1 = Left((quarter * TALL + 1u) * 16u, $1u * 16u, true)',
  ],
  [/subgroupMatrixLoad<Left, row_major>\(&p, (.*), LD_P\)/g, 'Left($1, 0u, false)'],
  [/subgroupMatrixLoad<Right, col_major>\(&kv, (.*), LD\)/g, 'Right($1, false)'],
  [/subgroupMatrixLoad<Right, row_major>\(&kv, (.*), LD\)/g, 'Right($1, true)'],
  [/subgroupMatrixLoad<Sums, row_major>\(&s, (.*), (4u)\)/g, 'emulated_load($1, $2)'],
  [/subgroupMatrixMultiplyAccumulate\(/g, 'emulated_products('],
  [/subgroupMatrixStore<row_major>\(&s, (.*), ([\w.]+), (LD_S|4u)\)/g, 'emulated_store($1, $2, $3)'],
];

/** The text of a call of mfa_prefill for adapters without matrix units. */
export function emulatedPrefill(text: string): string {
  return replaced(text, REPLACED);
}

/** Bytes of workgroup memory that a call takes. */
export function prefillBytes(params: PrefillParams): number {
  const { D, ROWS } = mfa_prefill.constants(params, mfa_prefill.variants[0]) as Record<string, number>;
  return 16 * (64 * (D / 8 + 1) + ROWS * (9 + 5) + 1) + 4 * ROWS;
}
