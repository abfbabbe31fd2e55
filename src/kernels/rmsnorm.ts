/** RMSNorm with plain gamma, before tiled products and drafts (spec: z ⊙ gamma / sqrt(mean(z²) + eps)). */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface RmsNormParams {
  readonly tokens: number;
  /** Width of a row. */
  readonly K: number;
  /** Elements from one row of x to the next; a multiple of 4. */
  readonly xStride: number;
  /** The same of y, and where in a row the result starts; by default rows are the result. */
  readonly yStride?: number;
  readonly yAt?: number;
  readonly eps: number;
}

/** Fewest and most invocations of a workgroup. */
const WORKGROUP = { least: 32, most: 256 } as const;

/** Invocations of a workgroup: no more than a row has groups of four elements, as idle ones wait at every barrier, too. */
function workgroup({ K }: RmsNormParams): number {
  const quads = ceilDiv(K, 4);
  return Math.min(WORKGROUP.most, Math.max(WORKGROUP.least, 2 ** Math.ceil(Math.log2(quads))));
}

const yStride = (p: RmsNormParams): number => p.yStride ?? padRow(p.K);

export const rmsnorm: Kernel<RmsNormParams> = defineKernel<RmsNormParams>({
  name: 'rmsnorm',
  summary: 'y = gamma ⊙ x / rms(x), one workgroup per token',
  variants: [PLAIN],
  libs: () => [],
  check(p) {
    if (
      !(
        p.tokens >= 1 &&
        p.K >= 1 &&
        p.xStride >= p.K &&
        p.xStride % 4 === 0 &&
        yStride(p) >= (p.yAt ?? 0) + p.K
      )
    ) {
      throw new KernelError(
        'rmsnorm',
        `expected tokens, K >= 1 and rows of at least K, those of x a multiple of 4, got ${JSON.stringify(p)}`,
      );
    }
  },
  constants: (p) => ({
    K: p.K,
    X_STRIDE: p.xStride,
    Y_STRIDE: yStride(p),
    Y_AT: p.yAt ?? 0,
    WG: workgroup(p),
  }),
  uniforms: (p) => ({ eps: p.eps }),
  bindings: (p) => ({
    x: { type: 'f32', dims: [p.tokens, p.xStride], cols: p.K, use: 'in' },
    y: { type: 'f32', dims: [p.tokens, yStride(p)], use: 'out' },
    gamma: { type: 'f32', dims: [padRow(p.K)], cols: p.K, use: 'in', weight: true },
  }),
  workgroups: (p) => [p.tokens, 1, 1],
  reference(p, io) {
    const x = io.f('x');
    const y = io.f('y');
    const gamma = io.f('gamma');
    for (let t = 0; t < p.tokens; t++) {
      let squares = 0;
      for (let k = 0; k < p.K; k++) squares += x[t * p.xStride + k] ** 2;
      const scale = 1 / Math.sqrt(squares / p.K + p.eps);
      const at = t * yStride(p) + (p.yAt ?? 0);
      for (let k = 0; k < p.K; k++) y[at + k] = x[t * p.xStride + k] * scale * gamma[k];
    }
  },
  cost: (p) => ({
    flops: p.tokens * p.K * 4, // square, add, two products
    bytesRead: p.tokens * p.K * 4 + p.K * 4, // x, gamma
    bytesWritten: p.tokens * p.K * 4, // y
  }),
  tolerance: { abs: 1e-6, rel: 5e-6, cosine: 1e-10 },
  shapes: {
    test: [
      { name: 'width 1', params: { tokens: 1, K: 1, xStride: 8, eps: 1e-5 } },
      { name: 'partial iteration', params: { tokens: 3, K: 70, xStride: 72, eps: 1e-5 } },
      { name: 'exactly one iteration', params: { tokens: 2, K: 256, xStride: 256, eps: 1e-5 } },
      { name: 'one over an iteration, wide rows', params: { tokens: 2, K: 257, xStride: 512, eps: 1e-5 } },
      {
        name: 'a part of wide result rows',
        params: { tokens: 2, K: 70, xStride: 72, yStride: 144, yAt: 72, eps: 1e-5 },
      },
      { name: 'several iterations', params: { tokens: 1, K: 7168, xStride: 7168, eps: 1e-5 } },
    ],
    bench: [
      {
        name: '256 tokens of 7168',
        params: { tokens: 256, K: 7168, xStride: 7168, eps: 1e-5 },
        set: 'real',
      },
      { name: '64 tokens of 896', params: { tokens: 64, K: 896, xStride: 896, eps: 1e-5 }, set: 'small' },
    ],
  },
});
