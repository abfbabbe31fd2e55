/** Choice of experts from router logits: what the kernels that use lib/route_token.wgsl share. */
import type { RoutingFacts } from '../config/index.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import type { BindingSpec, ReferenceIo } from './kernel.ts';

/** How tokens choose experts; softmax scores that nothing scales where the two optional facts are absent. */
export type Routing = Pick<RoutingFacts, 'experts' | 'topK' | 'renormalise'> &
  Partial<Pick<RoutingFacts, 'scoring' | 'scale'>>;

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

/** Whether experts are scored by sigmoids, and chosen with a bias. */
const isSigmoid = (r: Routing): boolean => r.scoring === 'sigmoid';

/** Most experts of which all are compared with each other; of more, those of leading quarters. */
const MANY_EXPERTS = 64;

/** Whether quarters (four experts) are ranked before the experts of those that lead. */
export const ranksQuarters = ({ experts, topK }: Pick<Routing, 'experts' | 'topK'>): boolean =>
  experts > MANY_EXPERTS && topK < ceilDiv(experts, 4);

/** The library files that score and choose experts. */
export function routeLibs(r: Routing): WgslName[] {
  return [
    'lib/route_token',
    ranksQuarters(r) ? 'lib/route_leading' : 'lib/route_all',
    isSigmoid(r) ? 'lib/score_sigmoid' : 'lib/score_softmax',
  ];
}

/** Constants of the shaders. */
export function routingConstants(r: Routing): Record<string, number | boolean> {
  return { EXPERTS: r.experts, TOP_K: r.topK, RENORMALISE: r.renormalise, SCALE: r.scale ?? 1 };
}

/**
 * Words of workgroup memory that lib/route_token.wgsl takes at most: a key of each expert and of each four, experts, scores and
 * fours of the choices.
 */
export const routingWords = (r: Routing): number =>
  ceilDiv(r.experts, 4) * 4 + ceilDiv(r.experts, 16) * 4 + 3 * r.topK;

/** Bindings beside the kernel's own. */
export function routingBindings(r: Routing, tokens: number): Record<string, BindingSpec> {
  const router_logits = {
    type: 'f32',
    dims: [tokens, padRow(r.experts)],
    cols: r.experts,
    use: 'in',
  } as const;
  if (!isSigmoid(r)) return { router_logits };
  const router_bias = {
    type: 'f32',
    dims: [padRow(r.experts)],
    cols: r.experts,
    use: 'in',
    weight: true,
  } as const;
  return { router_logits, router_bias };
}

/** The experts that a token chooses, best first (lower index first among equals), and their weights. */
export function chooseExperts(
  r: Routing,
  io: ReferenceIo,
  token: number,
): { experts: number[]; weights: number[] } {
  const at = token * padRow(r.experts);
  const logits = io.f('router_logits').subarray(at, at + r.experts);
  const max = logits.reduce((a, b) => Math.max(a, b));
  const scores = Array.from(logits, (l) => (isSigmoid(r) ? 1 / (1 + Math.exp(-l)) : Math.exp(l - max)));
  // Probabilities may underflow to equals where logits differ.
  const bias = isSigmoid(r) ? io.f('router_bias') : undefined;
  const keys = bias === undefined ? logits : scores.map((score, e) => score + bias[e]);
  const order = Array.from(logits, (_, e) => e).sort((a, b) => keys[b] - keys[a] || a - b);
  const experts = order.slice(0, r.topK);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b);
  const total = r.renormalise ? sum(experts.map((e) => scores[e])) : isSigmoid(r) ? 1 : sum(scores);
  return { experts, weights: experts.map((e) => (scores[e] * (r.scale ?? 1)) / total) };
}

/** Expected number of distinct experts among even choices: each token's own are distinct. */
export function distinctExperts(r: Routing, tokens: number): number {
  return r.experts * (1 - (1 - r.topK / r.experts) ** tokens);
}

/** Logits, from few values so that some are equal, and biases for tests and benchmarks. */
export function routingInputs(
  r: Routing,
  tokens: number,
  random: () => number,
): Record<string, Float64Array> {
  const stride = padRow(r.experts);
  const router_logits = new Float64Array(tokens * stride).fill(Number.NaN);
  for (let t = 0; t < tokens; t++)
    for (let e = 0; e < r.experts; e++) router_logits[t * stride + e] = Math.floor(random() * 64) / 8 - 4;
  if (!isSigmoid(r)) return { router_logits };
  // Biases of few values too: equal sums of score and bias come from equal scores only, so no rounding decides.
  const router_bias = new Float64Array(stride);
  for (let e = 0; e < r.experts; e++) router_bias[e] = Math.floor(random() * 2) / 4;
  return { router_logits, router_bias };
}
