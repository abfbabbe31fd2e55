/** mfa_decode on matrix units: heads of 256 elements over a cache of 16 or 8 bits. */
import { KernelError } from '../errors.ts';
import { attentionBench, attentionCase } from './attention_cases.ts';
import { defineKernel, type Kernel, MATRIX_UNITS } from './kernel.ts';
import { kvHalfLibs } from './kv_cache.ts';
import { type AttentionParams, mfa_decode } from './mfa_decode.ts';
import { PAGE } from './paged.ts';
import { OCCUPYING } from './slices.ts';

/** What the text is written for. */
const HEAD_DIM = 256;
/** Keys of a tile; slices of the context begin at multiples of it. */
const KEYS = 32;

/** Whether mfa_matrix can take the place of mfa_decode, given an adapter with matrix units and slices of whole tiles. */
export function fitsMatrixUnits(
  p: Pick<AttentionParams, 'D' | 'kv' | 'kvHeads'> & { readonly window?: number | undefined },
): boolean {
  return p.D === HEAD_DIM && p.kv !== 'f32' && p.kvHeads === 1 && p.window === undefined;
}

export const mfa_matrix: Kernel<AttentionParams> = defineKernel<AttentionParams>({
  ...mfa_decode,
  name: 'mfa_matrix',
  summary: 'mfa_decode on matrix units, for heads of 256 elements and an f16 or fp8 cache',
  variants: [MATRIX_UNITS],
  libs: (p) => [...kvHalfLibs(p.kv), 'lib/slices'],
  check(p) {
    mfa_decode.check(p);
    if (fitsMatrixUnits(p) && p.splitLen % KEYS === 0) return;
    const got = JSON.stringify({
      D: p.D,
      kv: p.kv,
      kvHeads: p.kvHeads,
      window: p.window,
      splitLen: p.splitLen,
    });
    throw new KernelError(
      'mfa_matrix',
      `expected D ${HEAD_DIM}, kv f16 or fp8, one KV head, no window and splitLen a multiple of ${KEYS}, got ${got}`,
    );
  },
  constants: (p) => ({ HEADS: p.heads, PAGE, SIZE: 32 }),
  // Queries and softmax weights are rounded to binary16; partial results are sums over a slice that nothing has divided.
  tolerance: { abs: 2e-2, rel: 4e-3, cosine: 1e-5 },
  shapes: {
    test: [
      { name: 'context of one', params: attentionCase(64, HEAD_DIM, 'f16', 1, 64, [[0, 0]]) },
      { name: 'one under a tile', params: attentionCase(64, HEAD_DIM, 'f16', 1, 64, [[0, 30]]) },
      { name: 'one over a tile', params: attentionCase(64, HEAD_DIM, 'f16', 1, 64, [[0, 32]]) },
      { name: 'splits and pages', params: attentionCase(64, HEAD_DIM, 'f16', 2, 96, [[0, 150]]) },
      { name: 'fp8, splits and pages', params: attentionCase(64, HEAD_DIM, 'fp8', 2, 96, [[0, 150]]) },
      { name: 'fp8, 8 heads, one over a tile', params: attentionCase(8, HEAD_DIM, 'fp8', 1, 64, [[0, 32]]) },
      {
        name: 'slices by what each token sees',
        params: attentionCase(64, HEAD_DIM, 'f16', 2, 32, [
          [0, 150],
          [1, 40],
          [2, 0],
          [3, 64],
        ]),
      },
      { name: '8 heads', params: attentionCase(8, HEAD_DIM, 'f16', 1, 128, [[0, 99]]) },
      { name: 'more heads than a group', params: attentionCase(70, HEAD_DIM, 'f16', 1, 64, [[0, 63]]) },
      ...(['f16', 'fp8'] as const).map((kv) => ({
        name: `ragged: four sequences, one with two tokens, ${kv}`,
        params: attentionCase(64, HEAD_DIM, kv, 4, 64, [
          [2, 199],
          [0, 0],
          [1, 63],
          [3, 64],
          [3, 65],
        ]),
      })),
    ],
    bench: [...attentionBench('f16', OCCUPYING.ahead), ...attentionBench('fp8', OCCUPYING.ahead)],
  },
});
