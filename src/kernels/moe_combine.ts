/** Weighted sum of the chosen experts' results into the residual stream. */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface CombineParams {
  readonly tokens: number;
  /** hidden_size. */
  readonly K: number;
  readonly topK: number;
}

export const moe_combine: Kernel<CombineParams> = defineKernel<CombineParams>({
  name: 'moe_combine',
  summary: 'h += Σ weight · expert result, over the chosen experts in order',
  variants: [PLAIN],
  libs: () => [],
  check(p) {
    if (!(p.tokens >= 1 && p.K >= 1 && p.topK >= 1)) {
      throw new KernelError('moe_combine', `expected tokens, K, topK >= 1, got ${JSON.stringify(p)}`);
    }
  },
  constants: (p) => ({ K: p.K, TOP_K: p.topK }),
  uniforms: () => ({}),
  bindings: (p) => ({
    expert_weights: { type: 'f32', dims: [p.tokens, p.topK], use: 'in' },
    expert_out: { type: 'f32', dims: [p.tokens * p.topK, padRow(p.K)], cols: p.K, use: 'in' },
    h: { type: 'f32', dims: [p.tokens, padRow(p.K)], cols: p.K, use: 'inout' },
  }),
  workgroups: (p) => [ceilDiv(p.K, 64), p.tokens, 1],
  reference(p, io) {
    const stride = padRow(p.K);
    const weights = io.f('expert_weights');
    const out = io.f('expert_out');
    const h = io.f('h');
    for (let t = 0; t < p.tokens; t++) {
      for (let k = 0; k < p.K; k++) {
        let sum = 0;
        for (let i = 0; i < p.topK; i++) {
          const pair = t * p.topK + i;
          sum += weights[pair] * out[pair * stride + k];
        }
        h[t * stride + k] += sum;
      }
    }
  },
  cost: (p) => ({
    flops: p.tokens * p.K * p.topK * 2,
    bytesRead: p.tokens * p.K * (p.topK + 1) * 4, // results and h
    bytesWritten: p.tokens * p.K * 4,
  }),
  tolerance: { abs: 1e-6, rel: 1e-6, cosine: 1e-11 },
  shapes: {
    test: [
      { name: 'one element', params: { tokens: 1, K: 1, topK: 1 } },
      { name: 'one over a workgroup', params: { tokens: 3, K: 65, topK: 3 } },
      { name: 'eight experts', params: { tokens: 2, K: 192, topK: 8 } },
    ],
    bench: [
      { name: 'Step-3, 1 token', params: { tokens: 1, K: 7168, topK: 3 }, set: 'real' },
      { name: 'Step-3, 256 tokens', params: { tokens: 256, K: 7168, topK: 3 }, set: 'real' },
      { name: 'mini, 16 tokens', params: { tokens: 16, K: 896, topK: 3 }, set: 'small' },
    ],
  },
});
