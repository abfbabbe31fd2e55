/** Activations as binary16 for matrix units, with the RMSNorm before a linear layer folded in. */
import { ceilDiv, padRow } from '../tensor.ts';
import { withinHalf } from './half_results.ts';
import { BASELINE, defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface HalfRowsParams {
  /** Rows of x and y. */
  readonly rows: number;
  readonly K: number;
  /** Elements from one row of x to the next; a multiple of 8. */
  readonly xStride: number;
  readonly norm: 'none' | 'rms';
  readonly eps: number;
}

/** Rows in the first dimension of the grid; more than any adapter has workgroups there need the second one, too. */
const across = (rows: number): number => ceilDiv(rows, ceilDiv(rows, BASELINE.maxWorkgroups));

export const half_rows: Kernel<HalfRowsParams> = defineKernel<HalfRowsParams>({
  name: 'half_rows',
  summary: 'y = norm(x) as f16, the input of matrix units',
  variants: [PLAIN],
  libs: (p) => ['lib/x_blocks', 'lib/half_four', p.norm === 'rms' ? 'lib/norm_rms' : 'lib/norm_none'],
  check() {},
  constants: (p) => ({ K: p.K, X_STRIDE: p.xStride }),
  uniforms: (p) => ({ eps: p.eps, rows: p.rows, across: across(p.rows) }),
  bindings: (p) => ({
    x: { type: 'f32', dims: [p.rows, p.xStride], cols: p.K, use: 'in' },
    y: { type: 'f16', dims: [p.rows, padRow(p.K)], use: 'out' },
    ...(p.norm === 'rms'
      ? { gamma: { type: 'f32', dims: [padRow(p.K)], cols: p.K, use: 'in', weight: true } as const }
      : {}),
  }),
  workgroups: (p) => [across(p.rows), ceilDiv(p.rows, across(p.rows)), 1],
  reference(p, io) {
    const x = io.f('x');
    const y = io.f('y');
    const gamma = p.norm === 'rms' ? io.f('gamma') : undefined;
    const stride = padRow(p.K);
    for (let r = 0; r < p.rows; r++) {
      let squares = 0;
      for (let k = 0; k < p.K; k++) squares += x[r * p.xStride + k] ** 2;
      const scale = gamma === undefined ? 1 : 1 / Math.sqrt(squares / p.K + p.eps);
      for (let k = 0; k < stride; k++) {
        const value = k < p.K ? x[r * p.xStride + k] * scale * (gamma?.[k] ?? 1) : 0;
        y[r * stride + k] = withinHalf(value);
      }
    }
  },
  cost: (p) => ({
    flops: p.norm === 'rms' ? p.rows * p.K * 4 : 0, // square, sum, scale, gamma
    bytesRead: p.rows * p.K * 4 + (p.norm === 'rms' ? p.K * 4 : 0), // x, gamma
    bytesWritten: p.rows * p.K * 2, // y
  }),
  tolerance: { abs: 1e-6, rel: 2 ** -10, cosine: 1e-6 },
  inputs: (p, random) => ({
    // One value beyond the range of binary16 where nothing normalises it.
    x: Float64Array.from({ length: p.rows * p.xStride }, (_, i) => {
      if (i % p.xStride >= p.K) return Number.NaN;
      return i === 1 && p.norm === 'none' ? 1e6 : random() * 2 - 1;
    }),
  }),
  shapes: {
    test: [
      { name: 'one block', params: { rows: 1, K: 8, xStride: 8, norm: 'none', eps: 0 } },
      { name: 'partial block, saturation', params: { rows: 3, K: 13, xStride: 24, norm: 'none', eps: 0 } },
      { name: 'norm, partial block', params: { rows: 2, K: 100, xStride: 104, norm: 'rms', eps: 1e-5 } },
      {
        name: 'norm, more blocks than invocations',
        params: { rows: 2, K: 2100, xStride: 2104, norm: 'rms', eps: 1e-5 },
      },
      {
        name: 'more rows than workgroups in one dimension',
        params: { rows: 65537, K: 8, xStride: 8, norm: 'rms', eps: 1e-5 },
      },
    ],
    bench: [
      {
        name: '64 rows of 7168, norm',
        params: { rows: 64, K: 7168, xStride: 7168, norm: 'rms', eps: 1e-5 },
        set: 'real',
      },
    ],
  },
});
