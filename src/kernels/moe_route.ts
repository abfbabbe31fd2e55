/** Routes tokens to experts: which ones, and with what weight. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import {
  chooseExperts,
  type Routing,
  routeLibs,
  routingBindings,
  routingConstants,
  routingFault,
  routingInputs,
} from './routing.ts';

export interface RouteParams extends Routing {
  readonly tokens: number;
}

export const moe_route: Kernel<RouteParams> = defineKernel<RouteParams>({
  name: 'moe_route',
  summary: 'scores of all experts, top-k: ids and weights of every token',
  variants: [PLAIN],
  libs: routeLibs,
  check(p) {
    const fault = routingFault(p);
    if (fault !== undefined) throw new KernelError('moe_route', fault);
    if (!(p.tokens >= 1)) throw new KernelError('moe_route', `tokens: expected >= 1, got ${p.tokens}`);
  },
  // An invocation per expert chooses; small workgroups leave room for those of more tokens.
  constants: (p) => ({ WG: p.experts > 64 ? 256 : 64, ...routingConstants(p) }),
  uniforms: () => ({}),
  bindings: (p) => ({
    ...routingBindings(p, p.tokens),
    expert_ids: { type: 'u32', dims: [p.tokens, p.topK], use: 'out' },
    expert_weights: { type: 'f32', dims: [p.tokens, p.topK], use: 'out' },
  }),
  workgroups: (p) => [p.tokens, 1, 1],
  reference(p, io) {
    for (let t = 0; t < p.tokens; t++) {
      const { experts, weights } = chooseExperts(p, io, t);
      io.u('expert_ids').set(experts, t * p.topK);
      io.f('expert_weights').set(weights, t * p.topK);
    }
  },
  cost: (p) => ({
    flops: p.tokens * p.experts * 2, // exponentials and their sum
    bytesRead: p.tokens * p.experts * 4, // logits
    bytesWritten: p.tokens * p.topK * 8, // ids and weights
  }),
  tolerance: { abs: 1e-7, rel: 5e-6, cosine: 1e-10 },
  inputs: (p, random) => routingInputs(p, p.tokens, random),
  shapes: {
    test: [
      { name: 'one token, one expert', params: routeCase(1, 1, 1) },
      { name: 'three of 48', params: routeCase(2, 48, 3) },
      { name: 'all experts chosen', params: routeCase(3, 5, 5) },
      { name: 'renormalised', params: { ...routeCase(50, 9, 3), renormalise: true } },
      { name: 'more experts than invocations, 8 of 290', params: routeCase(5, 290, 8) },
      { name: 'most choices', params: routeCase(2, 64, 64) },
      {
        name: 'sigmoid scores with a bias, 8 of 288',
        params: { ...routeCase(20, 288, 8), scoring: 'sigmoid', renormalise: true, scale: 3 },
      },
      {
        name: 'sigmoid scores with a bias, renormalised and scaled',
        params: { ...routeCase(50, 32, 8), scoring: 'sigmoid', renormalise: true, scale: 3 },
      },
      { name: 'sigmoid scores as they are', params: { ...routeCase(9, 5, 2), scoring: 'sigmoid' } },
    ],
    bench: [
      { name: 'Step-3, 8 tokens', params: routeCase(8, 48, 3), set: 'real' },
      { name: 'Step-3, 64 tokens', params: routeCase(64, 48, 3), set: 'real' },
      { name: 'Step-3, 4096 tokens', params: routeCase(4096, 48, 3), set: 'real' },
      {
        name: 'Step-3.5-Flash, 64 tokens',
        params: { ...routeCase(64, 288, 8), scoring: 'sigmoid', renormalise: true, scale: 3 },
        set: 'real',
      },
      { name: 'stories, 16 tokens', params: routeCase(16, 16, 3), set: 'small' },
    ],
  },
});

function routeCase(tokens: number, experts: number, topK: number): RouteParams {
  return { tokens, experts, topK, renormalise: false };
}
