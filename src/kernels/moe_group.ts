/** Groups (token, choice) pairs by expert into tiles for the expert layers; no readback. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { maxTiles } from './linear.ts';

export interface GroupParams {
  /** tokens * moe_top_k. */
  readonly pairs: number;
  readonly experts: number;
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
    if (p.experts < 1 || p.experts > 1024)
      throw new KernelError('moe_group', `experts: expected 1..1024, got ${p.experts}`);
    const need = maxTiles(p.pairs, p.experts, p.tile);
    if (p.maxTiles < need)
      throw new KernelError('moe_group', `maxTiles: expected at least ${need}, got ${p.maxTiles}`);
  },
  constants: (p) => ({ EXPERTS: p.experts }),
  uniforms: (p) => ({ pairs: p.pairs, tile: p.tile, max_tiles: p.maxTiles }),
  bindings: (p) => ({
    expert_ids: { type: 'u32', dims: [p.pairs], use: 'in' },
    pairs: { type: 'u32', dims: [p.pairs], use: 'out' },
    tiles: { type: 'u32', dims: [p.maxTiles, 4], use: 'out' },
  }),
  workgroups: () => [1, 1, 1],
  reference(p, io) {
    const ids = io.u('expert_ids');
    const tiles = io.u('tiles');
    const order = Array.from({ length: p.pairs }, (_, pair) => pair).sort((a, b) => ids[a] - ids[b] || a - b);
    io.u('pairs').set(order);
    let tile = 0;
    for (let begin = 0; begin < p.pairs; ) {
      const expert = ids[order[begin]];
      let end = begin;
      while (end < p.pairs && ids[order[end]] === expert) end++;
      for (; begin < end; begin += p.tile)
        tiles.set([expert, begin, Math.min(p.tile, end - begin), 0], tile++ * 4);
      begin = end;
    }
    for (; tile < p.maxTiles; tile++) tiles.set([0xffffffff, 0, 1, 0], tile * 4);
  },
  cost: (p) => ({ flops: 0, bytesRead: p.pairs * 4, bytesWritten: p.pairs * 4 + p.maxTiles * 16 }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  inputs: (p, random) => ({
    // Skewed, so that some experts fill several tiles and some get nothing.
    expert_ids: Uint32Array.from({ length: p.pairs }, () => Math.floor(random() ** 2 * p.experts)),
  }),
  shapes: {
    test: [
      { name: 'one pair', params: groupCase(1, 1, 1) },
      { name: 'fewer pairs than experts', params: groupCase(3, 48, 1) },
      { name: 'one under a batch of 256', params: groupCase(255, 6, 4) },
      { name: 'exactly a batch', params: groupCase(256, 6, 64) },
      { name: 'one over a batch', params: groupCase(257, 8, 64) },
      { name: 'more experts than invocations', params: groupCase(1000, 288, 8) },
      { name: 'thousands of tokens', params: groupCase(3 * 4096, 48, 64) },
    ],
    bench: [
      { name: 'Step-3, 64 tokens', params: groupCase(192, 48, 4) },
      { name: 'Step-3, 4096 tokens', params: groupCase(12288, 48, 64) },
    ],
  },
});

function groupCase(pairs: number, experts: number, tile: number): GroupParams {
  return { pairs, experts, tile, maxTiles: maxTiles(pairs, experts, tile) };
}
