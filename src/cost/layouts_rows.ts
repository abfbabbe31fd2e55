/** Layouts of the kernels that handle rows of activations, and choices of experts and tokens. */
import type { EmbedParams } from '../kernels/embed_tokens.ts';
import { PEAK_BLOCK, peakBlocks } from '../kernels/logit_peaks.ts';
import type { LogitRowsParams } from '../kernels/logit_rows.ts';
import type { CombineParams } from '../kernels/moe_combine.ts';
import type { GroupParams } from '../kernels/moe_group.ts';
import type { RouteParams } from '../kernels/moe_route.ts';
import type { SampleParams } from '../kernels/sample.ts';
import { ceilDiv } from '../tensor.ts';
import { constantsOf, type LaidOut, type Layout, type LayoutOf } from './layout.ts';
import { choosing } from './layouts_linear.ts';

/** Invocations of the kernels with a fixed size. */
const WIDE = 256;
const NARROW = 64;

/** Kernels that hold a row in the registers of a workgroup, eight elements of an invocation at a time. */
function rows(family: string, count: number, K: number): Layout {
  return { family, workgroups: count, depth: ceilDiv(ceilDiv(K, 8), WIDE), groupFlops: 4 * K };
}

function moeRoute(call: LaidOut): Layout {
  const p = call.params as RouteParams;
  const { steps, flops } = choosing(p, constantsOf(call).WG);
  // Shares of a softmax are divided by a sum over all experts.
  const sum = p.scoring === 'sigmoid' ? 0 : ceilDiv(p.experts, 4);
  return { family: 'moe_route', workgroups: p.tokens, depth: steps + sum, groupFlops: flops };
}

/** Pairs whose order moe_group finds at a time, and the barriers that takes. */
const SEGMENT = 32 * WIDE;
const SEGMENT_BARRIERS = 11;

function moeGroup(call: LaidOut): Layout {
  const p = call.params as GroupParams;
  const pairs = p.tokens * p.topK;
  return {
    family: 'moe_group',
    workgroups: p.experts,
    // All pairs are looked at twice, 4 of an invocation at a time.
    depth: 2 * ceilDiv(pairs, 4 * WIDE) + SEGMENT_BARRIERS * ceilDiv(pairs, SEGMENT),
    groupFlops: 0,
  };
}

export const ROW_LAYOUTS: Readonly<Record<string, LayoutOf>> = {
  moe_route: moeRoute,
  moe_group: moeGroup,
  moe_combine(call) {
    const p = call.params as CombineParams;
    const workgroups = ceilDiv(p.K, NARROW) * p.tokens;
    return { family: 'moe_combine', workgroups, depth: 1, groupFlops: 2 * NARROW * p.topK };
  },
  rmsnorm(call) {
    const p = call.params as { tokens: number; K: number };
    return rows('rmsnorm', p.tokens, p.K);
  },
  half_rows(call) {
    const p = call.params as { rows: number; K: number; norm: string };
    return rows(`half_rows ${p.norm}`, p.rows, p.K);
  },
  embed_tokens(call) {
    const { tokens, K, classes = [] } = call.params as EmbedParams;
    const workgroups = tokens * (ceilDiv(K, 512) + classes.length);
    // The longest workgroups are those of angles, as in rope_turns.
    const pairs = Math.max(0, ...classes.map(({ rope }) => rope.dim / 2));
    return {
      family: `embed_tokens${classes.length > 0 ? ' with places' : ''}`,
      workgroups,
      depth: Math.max(1, ceilDiv(pairs, NARROW)),
      groupFlops: 20 * pairs,
    };
  },
  logit_peaks(call) {
    const p = call.params as LogitRowsParams;
    const workgroups = p.rows * peakBlocks(p.vocab);
    return { family: 'logit_peaks', workgroups, depth: 1, groupFlops: PEAK_BLOCK };
  },
  sample(call, { greedy }) {
    const p = call.params as SampleParams;
    const family = `sample ${p.peaks ? 'peaks ' : ''}${greedy ? 'greedy' : 'draw'}`;
    if (p.peaks && greedy) return { family, workgroups: p.rows, depth: 1, groupFlops: peakBlocks(p.vocab) };
    return {
      family,
      workgroups: p.rows,
      depth: ceilDiv(p.vocab, 4 * 4 * WIDE),
      groupFlops: 3 * p.vocab,
    };
  },
};
