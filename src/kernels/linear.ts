/** What the linear kernels share: parameters, bindings, cost, input makers; their reference is in linear_reference.ts. */
import { KernelError } from '../errors.ts';
import { rowBytes } from '../formats/index.ts';
import { ceilDiv, padRow, type WeightFormat } from '../tensor.ts';
import type { RowRange } from '../weights/layout.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { type Buffers, buffersBindings, buffersConstants, buffersFault } from './buffers.ts';
import { groupPairs } from './expert_tiles.ts';
import { type HalfResults, resultBytes, resultType } from './half_results.ts';
import type { BindingSpec, Cost, Values } from './kernel.ts';
import { fitsHalf, isRope, outConstants, outLibs } from './linear_out.ts';
import { type RopeKind, type RopeOut, ropeBindings, ropeCost, ropeFault, ropeInputs } from './linear_rope.ts';
import {
  distinctExperts,
  type Routing,
  routeLibs,
  routingBindings,
  routingConstants,
  routingFault,
  routingInputs,
} from './routing.ts';
import { type SplitK, splitFault } from './split_k.ts';
import { blockLibs, weightConstants, weightFault } from './weights.ts';

/** Where rows of x come from and how results are numbered. */
export type RowSource =
  /** One result per row of x. */
  | { readonly kind: 'all' }
  /** Result i is for x row picks[i]; `sourceRows` rows of x exist. */
  | { readonly kind: 'picked'; readonly sourceRows: number }
  /** Results are (token, choice) pairs grouped by expert; x holds tokens (`perX` = top_k) or pairs (1). */
  | { readonly kind: 'grouped'; readonly experts: number; readonly perX: number; readonly maxTiles: number }
  /**
   * Results are (token, choice) pairs, whose experts are found from router logits on the spot; x holds tokens.
   * `sharedRows`: each token has one more pair, of a shared expert that has so many rows of w, in the last of the buffers.
   */
  | { readonly kind: 'routed'; readonly routing: Routing; readonly sharedRows?: number };

/** Rows of w of the shared expert among routed pairs; 0 where there is none. */
export function sharedRows(source: RowSource | undefined): number {
  return source?.kind === 'routed' ? (source.sharedRows ?? 0) : 0;
}

/** Experts of the bound buffers that tokens choose: without the shared one. */
export function chosenExperts({
  shard,
  source,
}: Pick<LinearParams, 'shard'> & { source?: RowSource }): number {
  return shard.expertCount - (sharedRows(source) > 0 ? 1 : 0);
}

/** Most rows of w of an expert, where the others have `rows`. */
const mostRows = (p: LinearParams, rows: number): number => Math.max(rows, sharedRows(p.source));

/** Pairs of the shared expert, one for each token. */
export const sharedPairs = (p: LinearParams): number => (sharedRows(p.source) > 0 ? xRows(p) : 0);

/** Result rows without those of the shared expert. */
export const chosenPairs = (p: LinearParams): number => p.tokens - sharedPairs(p);

/** Parameters of `y = out(norm(x) Wᵀ)`; `half`: of swiglu, on matrix units. */
export interface LinearParams extends HalfResults {
  readonly format: WeightFormat;
  /** Columns that share a scale (`fp8`, `int4`). */
  readonly group?: number | undefined;
  /** Result rows: tokens, picked rows, or pairs. */
  readonly tokens: number;
  readonly source: RowSource;
  /** Columns of w. */
  readonly K: number;
  /** Rows of w per expert, over all shards. For swiglu: gate and up rows alternate, so N is even. */
  readonly N: number;
  /** Rows of w that the bound buffers hold. Dense layers count as one expert. */
  readonly shard: RowRange;
  /** Experts of each buffer, where `shard` lies in several (matvec and matvec_units only). */
  readonly buffers?: Buffers;
  /** Elements from one row of x to the next; a multiple of 8. */
  readonly xStride: number;
  readonly yStride: number;
  readonly norm: 'none' | 'rms';
  readonly eps: number;
  readonly out: 'store' | 'add' | 'swiglu' | RopeKind;
  /** Of swiglu: bounds silu(gate) above, and up on both sides; 0 or absent = no bound. */
  readonly limit?: number;
  /** What the rotary outputs need; absent for the others. */
  readonly rope?: RopeOut;
  /** Rows of x that are handled together. */
  readonly tile: number;
  /** Rows of w whose columns several workgroups share (matmul_matrix, and matmul_join, which adds their sums up). */
  readonly splitK?: SplitK | undefined;
}

/** Most tiles that any routing of `pairs` pairs to `experts` experts can need. */
export function maxTiles(pairs: number, experts: number, tile: number): number {
  // Every used expert may end in a partial tile; the rest are full.
  return Math.min(experts, pairs) + Math.floor(pairs / tile);
}

/** Library files for these parameters; `weights`: those that read weights. */
export function linearLibs(
  p: LinearParams,
  withNorm: boolean,
  weights: readonly WgslName[] = blockLibs(p),
): WgslName[] {
  const libs: WgslName[] = [...weights, 'lib/x_blocks', `lib/rows_${p.source.kind}`, ...outLibs(p)];
  if (p.source.kind === 'routed') libs.push(...routeLibs(p.source.routing));
  else libs.push('lib/rows_even');
  if (withNorm) libs.push(p.norm === 'rms' ? 'lib/norm_rms' : 'lib/norm_none');
  return libs;
}

/** Constants of the library files. */
export function linearConstants(p: LinearParams): Record<string, number | boolean> {
  const constants: Record<string, number | boolean> = {
    K: p.K,
    X_STRIDE: p.xStride,
    ...weightConstants(p),
    ...buffersConstants(p.buffers),
    ...outConstants(p),
  };
  if (p.source.kind === 'grouped') constants.PAIRS_PER_X = p.source.perX;
  if (p.source.kind === 'routed') {
    Object.assign(constants, routingConstants(p.source.routing), { SHARED_ROWS: sharedRows(p.source) });
  }
  return constants;
}

/** Uniforms of both kernels; `eps` only where a norm is fused. */
export function linearUniforms(p: LinearParams): Record<string, number> {
  return {
    tokens: p.tokens,
    expert_begin: p.shard.expertBegin,
    expert_count: p.shard.expertCount,
    row_begin: p.shard.rowBegin,
    row_count: p.shard.rowCount,
    y_stride: p.yStride,
  };
}

/** Columns of the result in y. */
function outColumns(p: LinearParams): number {
  if (p.out === 'qkv') return p.rope?.kAt ?? p.N;
  return p.out === 'swiglu' ? mostRows(p, p.N) / 2 : mostRows(p, p.N);
}

/** Rows of x. */
export function xRows(p: LinearParams): number {
  if (p.source.kind === 'picked') return p.source.sourceRows;
  if (p.source.kind === 'routed') {
    return ceilDiv(p.tokens, p.source.routing.topK + (sharedRows(p.source) > 0 ? 1 : 0));
  }
  return p.source.kind === 'grouped' ? ceilDiv(p.tokens, p.source.perX) : p.tokens;
}

export function linearCheck(kernel: string, p: LinearParams): void {
  const fail = (what: string): never => {
    throw new KernelError(kernel, what, { params: p });
  };
  for (const [name, value] of Object.entries({
    tokens: p.tokens,
    K: p.K,
    N: p.N,
    rowCount: p.shard.rowCount,
  })) {
    if (!Number.isInteger(value) || value < 1) fail(`${name}: expected a positive integer, got ${value}`);
  }
  if (p.xStride % 8 !== 0 || p.xStride < padRow(p.K))
    fail(`xStride: expected a multiple of 8 >= ${padRow(p.K)}, got ${p.xStride}`);
  if (p.yStride < outColumns(p)) fail(`yStride: expected at least ${outColumns(p)}, got ${p.yStride}`);
  if (p.out === 'swiglu' && (p.N % 2 !== 0 || p.shard.rowBegin % 2 !== 0))
    fail(`N: expected gate/up pairs, got ${p.N}`);
  if (isRope(p.out)) {
    const fault = ropeFault(p.out, p.rope, p.N, p.shard.rowBegin);
    if (fault !== undefined) fail(fault);
    if (p.source.kind !== 'all') fail(`source: expected all for ${p.out}, got ${p.source.kind}`);
  }
  if (p.source.kind === 'routed') {
    const fault = routingFault(p.source.routing);
    if (fault !== undefined) fail(fault);
    if (p.tile !== 1) fail(`tile: expected 1 for routed pairs, got ${p.tile}`);
    const { experts } = p.source.routing;
    const apart =
      p.buffers?.at(-1) === 1 && p.shard.expertCount === experts + 1 && experts % p.buffers[0] === 0;
    if (sharedRows(p.source) > 0 && !apart) {
      const got = `${p.shard.expertCount} in ${JSON.stringify(p.buffers)}`;
      fail(`buffers: expected ${experts} experts and the shared one in a buffer of its own, got ${got}`);
    }
  }
  const format = weightFault(p, p.K);
  if (format !== undefined) fail(format);
  const buffers = buffersFault(p.buffers, p.shard.expertCount);
  if (buffers !== undefined) fail(buffers);
  if (p.buffers !== undefined && !kernel.startsWith('matvec')) fail('buffers: expected one buffer');
  if (p.splitK !== undefined) {
    const fault = splitFault(p.shard.rowCount, p.K, p.splitK);
    if (fault !== undefined) fail(fault);
    if (!kernel.startsWith('matmul_')) fail('splitK: expected none');
  }
  if (p.half === true && !(kernel.startsWith('matmul_') && fitsHalf(p)))
    fail(
      `half: expected fours of gate and up rows on matrix units, got ${JSON.stringify(p.shard)} for ${p.out}`,
    );
  if (p.shard.rowBegin + p.shard.rowCount > p.N)
    fail(`shard: expected rows within ${p.N}, got ${JSON.stringify(p.shard)}`);
}

export function linearBindings(p: LinearParams): Record<string, BindingSpec> {
  const bindings: Record<string, BindingSpec> = {
    ...buffersBindings(p.buffers, p.shard.expertCount, p, p.shard.rowCount, p.K, sharedRows(p.source)),
    x: { type: 'f32', dims: [xRows(p), p.xStride], cols: p.K, use: 'in' },
    y: {
      type: resultType(p),
      dims: [p.tokens, p.yStride],
      cols: outColumns(p),
      use: p.out === 'add' ? 'inout' : 'out',
    },
  };
  if (isRope(p.out) && p.rope !== undefined) Object.assign(bindings, ropeBindings(p.out, p.rope, p.tokens));
  if (p.norm === 'rms')
    bindings.gamma = { type: 'f32', dims: [padRow(p.K)], cols: p.K, use: 'in', weight: true };
  if (p.source.kind === 'picked') bindings.picks = { type: 'u32', dims: [p.tokens], use: 'in' };
  if (p.source.kind === 'routed') Object.assign(bindings, routingBindings(p.source.routing, xRows(p)));
  if (p.source.kind === 'grouped') {
    bindings.tiles = { type: 'u32', dims: [p.source.maxTiles, 4], use: 'in' };
    bindings.pairs = { type: 'u32', dims: [p.tokens], use: 'in' };
  }
  return bindings;
}

/** Columns from which rows of experts are long. */
export const LONG_COLUMNS = 6144;

/**
 * Whether workgroups that follow each other take tiles of x, and not rows of w. Tiles may share an expert, or its rows, which
 * then are read from memory once. Of one token no expert is chosen twice; if its rows are not long, choosing experts takes time, and the
 * shared expert's workgroups, which need not, hide that if they come first. Found by measurement.
 */
function tilesFirst(p: LinearParams): boolean {
  return p.source.kind !== 'routed' || xRows(p) > 1 || p.K >= LONG_COLUMNS;
}

/** Tiles of x. */
export function tileCount({ source, tokens, tile }: LinearParams): number {
  return source.kind === 'grouped' ? source.maxTiles : ceilDiv(tokens, tile);
}

/** Workgroups: `groups` for the rows of w along y, and those for tiles along x, where they are the first to change, or else z. */
export function linearGrid(p: LinearParams, groups: number): [number, number, number] {
  return tilesFirst(p) ? [tileCount(p), groups, 1] : [1, groups, tileCount(p)];
}

/** Workgroups that have so many rows of w. */
export function rowGroups(p: LinearParams, rowsPerWorkgroup: number): number {
  return ceilDiv(mostRows(p, p.shard.rowCount), rowsPerWorkgroup);
}

/**
 * FLOPs: 2 per weight and result row. Bytes: the weights that are touched, once (of as many distinct experts as evenly
 * routed pairs hit), x and y once.
 */
export function linearCost(p: LinearParams): Cost {
  const { rowCount } = p.shard;
  const ownRows = sharedRows(p.source);
  const share = chosenExperts(p) / expertsOf(p);
  const touched = touchedExperts(p) * share;
  const out = resultCost(p);
  return {
    flops: 2 * (chosenPairs(p) * share * rowCount + sharedPairs(p) * ownRows) * p.K + out.flops, // one multiply-add per weight
    bytesRead:
      (touched * rowCount + ownRows) * rowBytes(p, p.K) + // w
      xRows(p) * p.K * 4 + // x
      (p.norm === 'rms' ? p.K * 4 : 0) + // gamma
      out.bytesRead,
    bytesWritten: out.bytesWritten,
  };
}

/** What is done with the sums of all rows of the shard: rotations and their angles, y before an addition, and y. */
export function resultCost(p: LinearParams): Cost {
  const { rowCount } = p.shard;
  const rows = (chosenPairs(p) * chosenExperts(p)) / expertsOf(p);
  const results = (rows * rowCount + sharedPairs(p) * sharedRows(p.source)) / (p.out === 'swiglu' ? 2 : 1);
  const rope = isRope(p.out) && p.rope !== undefined ? ropeCost(p.out, p.rope, rows, p.shard) : undefined;
  return {
    flops: rope?.flops ?? 0,
    bytesRead: (p.out === 'add' ? results * 4 : 0) + (rope?.bytesRead ?? 0),
    bytesWritten: rope?.bytesWritten ?? results * resultBytes(p),
  };
}

/** Experts, without the shared one. */
function expertsOf(p: LinearParams): number {
  if (p.source.kind === 'routed') return p.source.routing.experts;
  return p.source.kind === 'grouped' ? p.source.experts : 1;
}

/** Expected number of distinct experts: among a token's own choices, or among independent uniform ones. */
function touchedExperts(p: LinearParams): number {
  if (p.source.kind === 'routed') return distinctExperts(p.source.routing, xRows(p));
  const experts = expertsOf(p);
  return experts * (1 - (1 - 1 / experts) ** p.tokens);
}

/** Picks, tiles and pairs for a test or benchmark: a seeded routing that leaves some experts unused. */
export function linearInputs(p: LinearParams, random: () => number): Record<string, Values> {
  if (p.source.kind === 'picked') {
    const { sourceRows } = p.source;
    return { picks: Uint32Array.from({ length: p.tokens }, () => Math.floor(random() * sourceRows)) };
  }
  if (isRope(p.out) && p.rope !== undefined) return ropeInputs(p.out, p.rope, p.tokens, random);
  if (p.source.kind === 'all') return {};
  if (p.source.kind === 'routed') return routingInputs(p.source.routing, xRows(p), random);
  const { experts, maxTiles: most } = p.source;
  const grouping = { experts, pairs: p.tokens, tile: p.tile, maxTiles: most };
  return groupPairs(grouping, () => Math.floor(random() * experts));
}

/** A dense layer's parameters from its shape, for test and benchmark lists. */
export function dense(N: number, K: number, tokens: number, rest: Partial<LinearParams> = {}): LinearParams {
  const out = rest.out ?? 'store';
  return {
    format: 'bf16',
    tokens,
    source: { kind: 'all' },
    K,
    N,
    shard: { expertBegin: 0, expertCount: 1, rowBegin: 0, rowCount: N },
    xStride: padRow(K),
    yStride: out === 'qkv' ? (rest.rope?.kAt ?? N) : padRow(out === 'swiglu' ? N / 2 : N),
    norm: 'none',
    eps: 1e-5,
    out,
    tile: 1,
    ...rest,
  };
}

/** An expert layer's parameters from its shape, for test and benchmark lists. */
export function grouped(
  experts: number,
  N: number,
  K: number,
  pairs: number,
  perX: number,
  tile: number,
  rest: Partial<LinearParams> = {},
): LinearParams {
  return dense(N, K, pairs, {
    source: { kind: 'grouped', experts, perX, maxTiles: maxTiles(pairs, experts, tile) },
    shard: { expertBegin: 0, expertCount: experts, rowBegin: 0, rowCount: N },
    tile,
    ...rest,
  });
}
