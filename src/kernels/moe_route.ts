/** Routes tokens to experts and groups the (token, choice) pairs into tiles for the expert layers; no readback. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { maxTiles } from './linear.ts';
import {
  chooseExperts,
  type Routing,
  routingBindings,
  routingConstants,
  routingFault,
  routingInputs,
  scoreLib,
} from './routing.ts';

export interface RouteParams extends Routing {
  readonly tokens: number;
  /** Pairs per tile. */
  readonly tile: number;
  readonly maxTiles: number;
}

export const moe_route: Kernel<RouteParams> = defineKernel<RouteParams>({
  name: 'moe_route',
  summary: 'scores of all experts, top-k; stable grouping of (token, choice) pairs by expert, cut into tiles',
  variants: [PLAIN],
  libs: (p) => [scoreLib(p)],
  check(p) {
    const fault = routingFault(p);
    if (fault !== undefined) throw new KernelError('moe_route', fault);
    const need = maxTiles(p.tokens * p.topK, p.experts, p.tile);
    if (p.maxTiles < need)
      throw new KernelError('moe_route', `maxTiles: expected at least ${need}, got ${p.maxTiles}`);
  },
  constants: routingConstants,
  uniforms: (p) => ({ tokens: p.tokens, tile: p.tile, max_tiles: p.maxTiles }),
  bindings: (p) => ({
    ...routingBindings(p, p.tokens),
    expert_ids: { type: 'u32', dims: [p.tokens, p.topK], use: 'out' },
    expert_weights: { type: 'f32', dims: [p.tokens, p.topK], use: 'out' },
    pairs: { type: 'u32', dims: [p.tokens * p.topK], use: 'out' },
    tiles: { type: 'u32', dims: [p.maxTiles, 4], use: 'out' },
  }),
  workgroups: () => [1, 1, 1],
  reference(p, io) {
    const ids = io.u('expert_ids');
    const tiles = io.u('tiles');
    const pairs = p.tokens * p.topK;
    for (let t = 0; t < p.tokens; t++) {
      const { experts, weights } = chooseExperts(p, io, t);
      ids.set(experts, t * p.topK);
      io.f('expert_weights').set(weights, t * p.topK);
    }
    const order = Array.from({ length: pairs }, (_, pair) => pair).sort((a, b) => ids[a] - ids[b] || a - b);
    io.u('pairs').set(order);
    let tile = 0;
    for (let begin = 0; begin < pairs; ) {
      const expert = ids[order[begin]];
      let end = begin;
      while (end < pairs && ids[order[end]] === expert) end++;
      for (; begin < end; begin += p.tile)
        tiles.set([expert, begin, Math.min(p.tile, end - begin), 0], tile++ * 4);
      begin = end;
    }
    for (; tile < p.maxTiles; tile++) tiles.set([0xffffffff, 0, 1, 0], tile * 4);
  },
  cost: (p) => ({
    flops: p.tokens * p.experts * 2, // exponentials and their sum
    bytesRead: p.tokens * p.experts * 4, // logits
    bytesWritten: p.tokens * p.topK * 12 + p.maxTiles * 16, // ids, weights and pairs; tiles
  }),
  tolerance: { abs: 1e-7, rel: 5e-6, cosine: 1e-10 },
  inputs: (p, random) => routingInputs(p, p.tokens, random),
  shapes: {
    test: [
      { name: 'one token, one expert', params: routeCase(1, 1, 1, 1) },
      { name: 'fewer pairs than experts', params: routeCase(1, 48, 3, 1) },
      { name: 'all experts chosen', params: routeCase(3, 5, 5, 2) },
      { name: 'renormalised', params: { ...routeCase(50, 8, 3, 4), renormalise: true } },
      {
        name: 'sigmoid scores with a bias, renormalised and scaled',
        params: { ...routeCase(50, 32, 8, 4), scoring: 'sigmoid', renormalise: true, scale: 3 },
      },
      {
        name: 'sigmoid scores as they are',
        params: { ...routeCase(9, 5, 2, 4), scoring: 'sigmoid' },
      },
      { name: 'one token under a workgroup, one pair over', params: routeCase(255, 6, 1, 4) },
      { name: 'one token over a workgroup', params: routeCase(257, 8, 2, 64) },
      { name: 'more experts than invocations', params: routeCase(125, 288, 8, 8) },
      { name: 'thousands of tokens', params: routeCase(4096, 48, 3, 64) },
    ],
    bench: [
      { name: 'Step-3, 8 tokens', params: routeCase(8, 48, 3, 4), set: 'real' },
      { name: 'Step-3, 64 tokens', params: routeCase(64, 48, 3, 4), set: 'real' },
      { name: 'Step-3, 4096 tokens', params: routeCase(4096, 48, 3, 64), set: 'real' },
      { name: 'stories, 16 tokens', params: routeCase(16, 16, 3, 4), set: 'small' },
    ],
  },
});

function routeCase(tokens: number, experts: number, topK: number, tile: number): RouteParams {
  return {
    tokens,
    experts,
    topK,
    renormalise: false,
    tile,
    maxTiles: maxTiles(tokens * topK, experts, tile),
  };
}
