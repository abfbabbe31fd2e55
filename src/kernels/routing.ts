/** Choice of experts from router logits: what the kernels that use lib/route_softmax.wgsl share. */
import { padRow } from '../tensor.ts';
import type { BindingSpec, ReferenceIo } from './kernel.ts';

/** How tokens choose experts. */
export interface Routing {
  /** moe_num_experts. */
  readonly experts: number;
  /** moe_top_k. */
  readonly topK: number;
  /** norm_expert_weight: the chosen probabilities are divided by their sum. */
  readonly renormalise: boolean;
}

/** Experts whose counts fit into the workgroup memory of default limits. */
export const MAX_EXPERTS = 1024;

/** Choices that an invocation keeps to itself. */
const MAX_CHOICES = 64;

/** What is wrong with a routing, or undefined. */
export function routingFault(r: Routing): string | undefined {
  if (r.experts < 1 || r.experts > MAX_EXPERTS)
    return `experts: expected 1..${MAX_EXPERTS}, got ${r.experts}`;
  const most = Math.min(r.experts, MAX_CHOICES);
  if (r.topK < 1 || r.topK > most) return `topK: expected 1..${most}, got ${r.topK}`;
  return undefined;
}

/** Constants of the shaders. */
export function routingConstants(r: Routing): Record<string, number | boolean> {
  return { EXPERTS: r.experts, TOP_K: r.topK, RENORMALISE: r.renormalise };
}

/** Bindings beside the kernel's own. */
export function routingBindings(r: Routing, tokens: number): Record<string, BindingSpec> {
  return {
    router_logits: { type: 'f32', dims: [tokens, padRow(r.experts)], cols: r.experts, use: 'in' },
  };
}

/** The experts that a token chooses, most probable first (lower index first among equals), and their weights. */
export function chooseExperts(
  r: Routing,
  io: ReferenceIo,
  token: number,
): { experts: number[]; weights: number[] } {
  const at = token * padRow(r.experts);
  const logits = io.f('router_logits').subarray(at, at + r.experts);
  const order = Array.from(logits, (_, e) => e).sort((a, b) => logits[b] - logits[a] || a - b);
  const max = logits[order[0]];
  const experts = order.slice(0, r.topK);
  const exps = experts.map((e) => Math.exp(logits[e] - max));
  const counted = r.renormalise ? exps : Array.from(logits, (l) => Math.exp(l - max));
  const total = counted.reduce((a, b) => a + b);
  return { experts, weights: exps.map((e) => e / total) };
}

/** Expected number of distinct experts among even choices: each token's own are distinct. */
export function distinctExperts(r: Routing, tokens: number): number {
  return r.experts * (1 - (1 - r.topK / r.experts) ** tokens);
}

/** Logits for tests and benchmarks, from few values so that some are equal. */
export function routingLogits(r: Routing, tokens: number, random: () => number): Float64Array {
  const stride = padRow(r.experts);
  const logits = new Float64Array(tokens * stride).fill(Number.NaN);
  for (let t = 0; t < tokens; t++)
    for (let e = 0; e < r.experts; e++) logits[t * stride + e] = Math.floor(random() * 64) / 8 - 4;
  return logits;
}
