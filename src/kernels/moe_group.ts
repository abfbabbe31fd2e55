/** Groups the (token, choice) pairs of routed tokens into tiles for the expert layers; no readback. */
import { KernelError } from '../errors.ts';
import { groupPairs } from './expert_tiles.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { maxTiles } from './linear.ts';
import { MAX_EXPERTS } from './routing.ts';

export interface GroupParams {
  readonly tokens: number;
  readonly experts: number;
  readonly topK: number;
  /** Pairs per tile. */
  readonly tile: number;
  readonly maxTiles: number;
}

export const moe_group: Kernel<GroupParams> = defineKernel<GroupParams>({
  name: 'moe_group',
  summary: 'stable grouping of (token, choice) pairs by expert, cut into tiles',
  variants: [PLAIN],
  libs: () => [],
  check(p) {
    if (!(p.experts >= 1 && p.experts <= MAX_EXPERTS))
      throw new KernelError('moe_group', `experts: expected 1..${MAX_EXPERTS}, got ${p.experts}`);
    if (!(p.tokens >= 1 && p.topK >= 1 && p.tile >= 1))
      throw new KernelError('moe_group', `expected tokens, topK, tile >= 1, got ${JSON.stringify(p)}`);
    const need = maxTiles(p.tokens * p.topK, p.experts, p.tile);
    if (p.maxTiles < need)
      throw new KernelError('moe_group', `maxTiles: expected at least ${need}, got ${p.maxTiles}`);
  },
  constants: (p) => ({ EXPERTS: p.experts }),
  uniforms: (p) => ({ pairs: p.tokens * p.topK, tile: p.tile, max_tiles: p.maxTiles }),
  bindings: (p) => ({
    expert_ids: { type: 'u32', dims: [p.tokens, p.topK], use: 'in' },
    pairs: { type: 'u32', dims: [p.tokens * p.topK], use: 'out' },
    tiles: { type: 'u32', dims: [p.maxTiles, 4], use: 'out' },
  }),
  workgroups: (p) => [p.experts, 1, 1],
  reference(p, io) {
    const ids = io.u('expert_ids');
    const made = groupPairs({ ...p, pairs: p.tokens * p.topK }, (pair) => ids[pair]);
    io.u('pairs').set(made.pairs);
    io.u('tiles').set(made.tiles);
  },
  cost: (p) => ({
    flops: 0,
    bytesRead: p.tokens * p.topK * 4, // ids
    bytesWritten: p.tokens * p.topK * 4 + p.maxTiles * 16, // pairs and tiles
  }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  inputs: (p, random) => ({ expert_ids: distinctChoices(p, random) }),
  shapes: {
    test: [
      { name: 'one token, one expert', params: groupCase(1, 1, 1, 1) },
      { name: 'fewer pairs than experts', params: groupCase(1, 48, 3, 1) },
      { name: 'all experts chosen', params: groupCase(3, 5, 5, 2) },
      { name: 'one pair under a round of loads', params: groupCase(341, 6, 3, 4) },
      { name: 'one pair over', params: groupCase(1025, 8, 1, 64) },
      { name: 'more experts than invocations', params: groupCase(125, 288, 8, 8) },
      { name: 'one pair over a segment', params: groupCase(8193, 3, 1, 64) },
      { name: 'thousands of tokens', params: groupCase(4096, 48, 3, 64) },
    ],
    bench: [
      { name: 'Step-3, 8 tokens', params: groupCase(8, 48, 3, 4), set: 'real' },
      { name: 'Step-3, 64 tokens', params: groupCase(64, 48, 3, 4), set: 'real' },
      { name: 'Step-3, 4096 tokens', params: groupCase(4096, 48, 3, 64), set: 'real' },
      { name: 'stories, 16 tokens', params: groupCase(16, 16, 3, 4), set: 'small' },
    ],
  },
});

function groupCase(tokens: number, experts: number, topK: number, tile: number): GroupParams {
  return { tokens, experts, topK, tile, maxTiles: maxTiles(tokens * topK, experts, tile) };
}

/** Different experts for the choices of each token, some experts chosen far more often than others. */
function distinctChoices({ tokens, experts, topK }: GroupParams, random: () => number): Uint32Array {
  const ids = new Uint32Array(tokens * topK);
  for (let t = 0; t < tokens; t++) {
    const first = Math.floor(random() ** 2 * experts);
    for (let i = 0; i < topK; i++) ids[t * topK + i] = (first + i) % experts;
  }
  return ids;
}
