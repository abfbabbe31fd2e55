/** Layouts of the kernels that multiply with weights. */
import { chosenExperts, chosenPairs, type LinearParams, sharedPairs, sharedRows } from '../kernels/linear.ts';
import { MATMUL_ROWS, MATMUL_TILE } from '../kernels/matmul.ts';
import { JOIN_WG } from '../kernels/matmul_join.ts';
import { GROUP_ROWS } from '../kernels/matvec.ts';
import { downRows, type ExpertsDownParams } from '../kernels/moe_down.ts';
import { type Routing, ranksQuarters } from '../kernels/routing.ts';
import { splitTiles } from '../kernels/split_k.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { constantsOf, formatName, type LaidOut, type Layout, type LayoutOf } from './layout.ts';
import type { WorkOptions } from './work.ts';

/** Tiles that have work in the shard of a linear call, without those of a shared expert. */
function activeTiles(p: LinearParams, even = false): number {
  const { source, shard } = p;
  if (source.kind === 'routed') return (chosenPairs(p) * chosenExperts(p)) / source.routing.experts;
  if (source.kind !== 'grouped') return ceilDiv(p.tokens, p.tile);
  if (!even) return shard.expertCount * expectedTiles(p.tokens, 1 / source.experts, p.tile);
  const [each, rest] = [Math.floor(p.tokens / source.experts), p.tokens % source.experts];
  const tiles = rest * ceilDiv(each + 1, p.tile) + (source.experts - rest) * ceilDiv(each, p.tile);
  return (shard.expertCount / source.experts) * tiles;
}

/** Workgroups that have work, of a kernel whose workgroups have `rows` rows of w each. */
function activeWorkgroups(p: LinearParams, rows: number, even = false): number {
  const shared = ceilDiv(sharedRows(p.source), rows) * sharedPairs(p);
  return ceilDiv(p.shard.rowCount, rows) * activeTiles(p, even) + shared;
}

/** Expected tiles of one expert: of `pairs` independent pairs each is its own with probability `p`. */
export function expectedTiles(pairs: number, p: number, tile: number): number {
  // Binomial probabilities, one after the other; their logarithms, as the first may be far below 1e-300.
  let log = p < 1 ? pairs * Math.log1p(-p) : 0;
  if (p >= 1) return ceilDiv(pairs, tile);
  let expected = 0;
  for (let n = 0; n <= pairs; n++) {
    expected += Math.exp(log) * ceilDiv(n, tile);
    log += Math.log((pairs - n) / (n + 1)) + Math.log(p / (1 - p));
  }
  return expected;
}

/** Steps of choosing experts, in workgroup memory, that take about as long as one over columns of weights. */
const CHOICE_STEPS = 24;

/** Operations that compare two experts. */
const CHOICE_FLOPS = 6;

/** What it takes a workgroup of `WG` to compare each of `count` with all. */
const ranking = (count: number, WG: number) => ({
  steps: ceilDiv(count, WG) * ceilDiv(count, 4),
  flops: CHOICE_FLOPS * count * count,
});

/**
 * What it takes a workgroup of `WG` to choose experts: each is compared with all or, of many, each four of them with all fours, and
 * then those of the leading fours with each other.
 */
export function choosing(
  routing: Pick<Routing, 'experts' | 'topK'>,
  WG: number,
): { steps: number; flops: number } {
  const { experts, topK } = routing;
  if (!ranksQuarters(routing)) return ranking(experts, WG);
  const [fours, leading] = [ranking(ceilDiv(experts, 4), WG), ranking(4 * topK, WG)];
  return { steps: fours.steps + leading.steps, flops: fours.flops + leading.flops };
}

function matvec(call: LaidOut, { subgroup, even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  const { WG, TOKENS, GROUPS } = constantsOf(call);
  const team = call.variant.name === 'workgroup' ? 32 : subgroup;
  const teams = Math.max(1, WG / team);
  const parts = Math.max(Math.floor(teams / GROUPS), 1);
  const rounds = GROUPS / Math.min(teams, GROUPS);
  const blocks = ceilDiv(p.K, 8);
  const kind = p.source.kind === 'picked' ? 'all' : p.source.kind;
  const norm = p.norm === 'rms' ? 3 * TOKENS * GROUPS : 0; // square, sum, gamma per column and group
  const choice = p.source.kind === 'routed' ? choosing(p.source.routing, WG) : { steps: 0, flops: 0 };
  return {
    family: `matvec ${call.variant.name} ${kind} x${TOKENS}${formatName(p.format)}`,
    workgroups: activeWorkgroups(p, GROUP_ROWS * GROUPS, even),
    depth: rounds * ceilDiv(blocks, team * parts) + choice.steps / CHOICE_STEPS,
    groupFlops: blocks * 8 * (2 * TOKENS * GROUP_ROWS * GROUPS + norm) + choice.flops,
  };
}

function matvecUnits(call: LaidOut, { even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  const { WG, QUADS, TOKENS } = constantsOf(call);
  const units = ceilDiv(p.K, 32);
  const kind = p.source.kind === 'picked' ? 'all' : p.source.kind;
  const norm = p.norm === 'rms' ? 3 : 0; // square, sum, gamma per column
  const choice = p.source.kind === 'routed' ? choosing(p.source.routing, WG) : { steps: 0, flops: 0 };
  return {
    family: `matvec_units ${call.variant.name} ${kind}${TOKENS > 1 ? ` x${TOKENS}` : ''}${formatName(p.format)}`,
    workgroups: activeWorkgroups(p, 4 * QUADS, even),
    depth: QUADS * ceilDiv(units, WG) + choice.steps / CHOICE_STEPS,
    groupFlops: TOKENS * units * 32 * (2 * 4 * QUADS + norm) + choice.flops,
  };
}

function matvecRows(call: LaidOut, { even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  const { GROUPS, QUADS, TOKENS, TURNS } = constantsOf(call);
  const blocks = ceilDiv(p.K, 8);
  const norm = p.norm === 'rms' ? 3 : 0; // square, sum, gamma per column
  return {
    family: `matvec_rows ${call.variant.name}${TOKENS > 1 ? ` x${TOKENS}` : ''}${formatName(p.format)}`,
    workgroups: GROUPS * activeTiles(p, even),
    depth: TURNS * QUADS * GROUP_ROWS,
    groupFlops: TOKENS * blocks * 8 * (2 * GROUP_ROWS * QUADS + norm),
  };
}

/** Columns of a round of matmul; fixed by its text. */
const MATMUL_COLUMNS = 16;

function matmul(call: LaidOut, { even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  const depth = ceilDiv(p.K, MATMUL_COLUMNS);
  return {
    family: `matmul ${p.source.kind === 'grouped' ? 'grouped' : 'all'}${formatName(p.format)}`,
    workgroups: activeWorkgroups(p, MATMUL_ROWS, even),
    depth,
    groupFlops: 2 * MATMUL_TILE * MATMUL_ROWS * depth * MATMUL_COLUMNS,
  };
}

function matmulMatrix(call: LaidOut, { even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  const c = constantsOf(call);
  const tokens = 16 * c.TM * c.SG_M;
  const rows = 16 * c.TN * c.SG_N;
  const kind = p.source.kind === 'grouped' ? 'grouped' : 'all';
  const all = activeWorkgroups(p, rows, even);
  const steps = ceilDiv(p.K, c.DEPTH);
  const { whole, parts } = splitTiles(p.shard.rowCount, rows, p.splitK);
  const workgroups = p.splitK === undefined ? all : (whole + parts) * activeTiles(p);
  // Workgroups that share columns with others have a part of the steps: taken together, all have the mean.
  const depth = (all * steps) / workgroups;
  return {
    family: `matmul_matrix ${kind} ${p.tile}x${rows}x${c.DEPTH}/${c.SG_K}${formatName(p.format)}`,
    workgroups,
    depth,
    groupFlops: 2 * tokens * rows * depth * c.DEPTH,
    units: 'matrix',
  };
}

function matmulJoin(call: LaidOut): Layout {
  const p = call.params as LinearParams;
  const { PARTS, QUADS } = constantsOf(call);
  return {
    family: 'matmul_join',
    workgroups: ceilDiv(QUADS, JOIN_WG) * p.tokens,
    depth: 1,
    groupFlops: 4 * JOIN_WG * PARTS,
  };
}

function moeDown(call: LaidOut): Layout {
  const p = call.params as ExpertsDownParams;
  const { WG } = constantsOf(call);
  const rows = downRows(p);
  const { experts, topK } = p.routing;
  const part = p.shard.expertCount / experts;
  const shareK = p.withShare ? p.shareK : 0;
  // A token none of whose experts is here, nor the shared one, has nothing to do.
  const busy = p.withShare ? 1 : 1 - (1 - part) ** topK;
  const choice = choosing(p.routing, WG);
  return {
    family: `moe_down ${call.variant.name}${formatName(p.format)}`,
    workgroups: ceilDiv(p.shard.rowCount, rows) * p.tokens * busy,
    depth: ceilDiv(ceilDiv(p.shareK, 8) + topK * ceilDiv(p.K, 8), WG) + choice.steps / CHOICE_STEPS,
    groupFlops: (2 * rows * (padRow(shareK) + topK * part * padRow(p.K))) / busy + choice.flops,
  };
}

export const LINEAR_LAYOUTS: Readonly<Record<string, LayoutOf>> = {
  matvec,
  matvec_rows: matvecRows,
  matvec_units: matvecUnits,
  matmul,
  matmul_matrix: matmulMatrix,
  matmul_join: matmulJoin,
  moe_down: moeDown,
};
