/** Router of the mixture of experts: RMSNorm, logits, softmax over all experts, top-k (Step-3: not renormalised). */
import { KernelError } from '../errors.ts';
import { FORMAT_BYTES, padRow, type WeightFormat } from '../tensor.ts';
import { defineKernel, type Kernel, SUBGROUP_TEAM, WORKGROUP_TEAM } from './kernel.ts';

export interface RouterParams {
  readonly format: WeightFormat;
  readonly tokens: number;
  /** hidden_size. */
  readonly K: number;
  /** moe_num_experts. */
  readonly experts: number;
  /** moe_top_k. */
  readonly topK: number;
  /** norm_expert_weight: the chosen probabilities are divided by their sum. */
  readonly renormalise: boolean;
  readonly eps: number;
}

/** Experts whose logits fit into the workgroup memory of default limits beside the team's sums. */
const MAX_EXPERTS = 1024;

export const moe_router: Kernel<RouterParams> = defineKernel<RouterParams>({
  name: 'moe_router',
  summary: 'RMSNorm, router logits, softmax over all experts, top-k',
  variants: [SUBGROUP_TEAM, WORKGROUP_TEAM],
  libs: (p) => [`lib/weight_${p.format}`, 'lib/x_blocks'],
  check(p) {
    if (p.experts < 1 || p.experts > MAX_EXPERTS) {
      throw new KernelError('moe_router', `experts: expected 1..${MAX_EXPERTS}, got ${p.experts}`);
    }
    if (p.topK < 1 || p.topK > Math.min(p.experts, 64)) {
      throw new KernelError('moe_router', `topK: expected 1..${Math.min(p.experts, 64)}, got ${p.topK}`);
    }
  },
  constants: (p) => ({ WG: 64, K: p.K, EXPERTS: p.experts, TOP_K: p.topK, RENORMALISE: p.renormalise }),
  uniforms: (p) => ({ eps: p.eps }),
  bindings: (p) => ({
    w: { type: p.format, dims: [p.experts, padRow(p.K)], cols: p.K, use: 'in', weight: true },
    x: { type: 'f32', dims: [p.tokens, padRow(p.K)], cols: p.K, use: 'in' },
    gamma: { type: 'f32', dims: [padRow(p.K)], cols: p.K, use: 'in', weight: true },
    expert_ids: { type: 'u32', dims: [p.tokens, p.topK], use: 'out' },
    expert_weights: { type: 'f32', dims: [p.tokens, p.topK], use: 'out' },
  }),
  workgroups: (p) => [p.tokens, 1, 1],
  reference(p, io) {
    const stride = padRow(p.K);
    const x = io.f('x');
    const gamma = io.f('gamma');
    const w = io.m('w');
    const ids = io.u('expert_ids');
    const weights = io.f('expert_weights');
    const row = new Float64Array(stride);
    for (let t = 0; t < p.tokens; t++) {
      const at = t * stride;
      let squares = 0;
      for (let k = 0; k < p.K; k++) squares += x[at + k] ** 2;
      const scale = 1 / Math.sqrt(squares / p.K + p.eps);
      const logits = Array.from({ length: p.experts }, (_, e) => {
        w.row(e, row);
        let sum = 0;
        for (let k = 0; k < p.K; k++) sum += x[at + k] * gamma[k] * row[k];
        return sum * scale;
      });
      const max = Math.max(...logits);
      const total = logits.reduce((sum, l) => sum + Math.exp(l - max), 0);
      const order = logits.map((_, e) => e).sort((a, b) => logits[b] - logits[a] || a - b);
      const top = order.slice(0, p.topK).map((e) => Math.exp(logits[e] - max) / total);
      const norm = p.renormalise ? top.reduce((a, b) => a + b) : 1;
      for (let i = 0; i < p.topK; i++) {
        ids[t * p.topK + i] = order[i];
        weights[t * p.topK + i] = top[i] / norm;
      }
    }
  },
  cost: (p) => ({
    flops: p.tokens * p.experts * p.K * 2, // logits
    bytesRead: p.experts * p.K * FORMAT_BYTES[p.format] + p.tokens * p.K * 4 + p.K * 4, // router, x, gamma
    bytesWritten: p.tokens * p.topK * 8, // ids and weights
  }),
  tolerance: { abs: 1e-6, rel: 2e-5, cosine: 1e-9 },
  shapes: {
    test: [
      { name: 'one expert', params: routerCase(1, 16, 1, 1) },
      { name: 'tiny', params: routerCase(2, 64, 6, 2) },
      { name: 'all experts chosen', params: routerCase(1, 24, 5, 5) },
      { name: 'renormalised', params: { ...routerCase(3, 72, 8, 3), renormalise: true } },
      { name: 'odd width, f32', params: { ...routerCase(5, 70, 9, 3), format: 'f32' } },
      { name: 'more experts than invocations', params: routerCase(2, 128, 288, 8) },
      { name: 'Step-3', params: routerCase(1, 7168, 48, 3) },
    ],
    bench: [
      { name: 'Step-3, 1 token', params: routerCase(1, 7168, 48, 3) },
      { name: 'Step-3, 64 tokens', params: routerCase(64, 7168, 48, 3) },
    ],
  },
});

function routerCase(tokens: number, K: number, experts: number, topK: number): RouterParams {
  return { format: 'bf16', tokens, K, experts, topK, renormalise: false, eps: 1e-5 };
}
