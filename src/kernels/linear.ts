/** What the two linear kernels, matvec and matmul, share: parameters, bindings, reference, cost, input makers. */
import { KernelError } from '../errors.ts';
import { ceilDiv, FORMAT_BYTES, padRow, type WeightFormat } from '../tensor.ts';
import type { RowRange } from '../weights/layout.ts';
import type { WgslName } from '../wgsl/generated.ts';
import type { BindingSpec, Cost, ReferenceIo, Values } from './kernel.ts';

/** Where rows of x come from and how results are numbered. */
export type RowSource =
  /** One result per row of x. */
  | { readonly kind: 'all' }
  /** Result i is for x row picks[i]; `sourceRows` rows of x exist. */
  | { readonly kind: 'picked'; readonly sourceRows: number }
  /** Results are (token, choice) pairs grouped by expert; x holds tokens (`perX` = top_k) or pairs (1). */
  | { readonly kind: 'grouped'; readonly experts: number; readonly perX: number; readonly maxTiles: number };

/** Parameters of `y = out(norm(x) Wᵀ)`. */
export interface LinearParams {
  readonly format: WeightFormat;
  /** Result rows: tokens, picked rows, or pairs. */
  readonly tokens: number;
  readonly source: RowSource;
  /** Columns of w. */
  readonly K: number;
  /** Rows of w per expert, over all shards. For swiglu: gate and up rows alternate, so N is even. */
  readonly N: number;
  /** Rows of w that the bound buffer holds. Dense layers count as one expert. */
  readonly shard: RowRange;
  /** Elements from one row of x to the next; a multiple of 8. */
  readonly xStride: number;
  readonly yStride: number;
  readonly norm: 'none' | 'rms';
  readonly eps: number;
  readonly out: 'store' | 'add' | 'swiglu';
  /** Rows of x that are handled together. */
  readonly tile: number;
}

/** Most tiles that any routing of `pairs` pairs to `experts` experts can need. */
export function maxTiles(pairs: number, experts: number, tile: number): number {
  // Every used expert may end in a partial tile; the rest are full.
  return Math.min(experts, pairs) + Math.floor(pairs / tile);
}

/** Library files for these parameters. */
export function linearLibs(p: LinearParams, withNorm: boolean): WgslName[] {
  const rows = { all: 'lib/rows_all', picked: 'lib/rows_picked', grouped: 'lib/rows_grouped' } as const;
  const out = { store: 'lib/out_store', add: 'lib/out_add', swiglu: 'lib/out_swiglu' } as const;
  const libs: WgslName[] = [`lib/weight_${p.format}`, 'lib/x_blocks', rows[p.source.kind], out[p.out]];
  if (withNorm) libs.push(p.norm === 'rms' ? 'lib/norm_rms' : 'lib/norm_none');
  return libs;
}

/** Constants of the library files. */
export function linearConstants(p: LinearParams): Record<string, number> {
  const constants: Record<string, number> = { K: p.K, X_STRIDE: p.xStride };
  if (p.source.kind === 'grouped') constants.PAIRS_PER_X = p.source.perX;
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

/** Columns of the result. */
function outColumns(p: LinearParams): number {
  return p.out === 'swiglu' ? p.N / 2 : p.N;
}

/** Rows of x. */
function xRows(p: LinearParams): number {
  if (p.source.kind === 'picked') return p.source.sourceRows;
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
  if (p.shard.rowBegin + p.shard.rowCount > p.N)
    fail(`shard: expected rows within ${p.N}, got ${JSON.stringify(p.shard)}`);
}

export function linearBindings(p: LinearParams): Record<string, BindingSpec> {
  const stored = p.shard.expertCount * p.shard.rowCount;
  const bindings: Record<string, BindingSpec> = {
    w: { type: p.format, dims: [stored, padRow(p.K)], cols: p.K, use: 'in', weight: true },
    x: { type: 'f32', dims: [xRows(p), p.xStride], cols: p.K, use: 'in' },
    y: {
      type: 'f32',
      dims: [p.tokens, p.yStride],
      cols: outColumns(p),
      use: p.out === 'add' ? 'inout' : 'out',
    },
  };
  if (p.norm === 'rms')
    bindings.gamma = { type: 'f32', dims: [padRow(p.K)], cols: p.K, use: 'in', weight: true };
  if (p.source.kind === 'picked') bindings.picks = { type: 'u32', dims: [p.tokens], use: 'in' };
  if (p.source.kind === 'grouped') {
    bindings.tiles = { type: 'u32', dims: [p.source.maxTiles, 4], use: 'in' };
    bindings.pairs = { type: 'u32', dims: [p.tokens], use: 'in' };
  }
  return bindings;
}

/** `[rows of w / rowsPerWorkgroup, tiles]`. */
export function linearWorkgroups(p: LinearParams, rowsPerWorkgroup: number): [number, number, number] {
  const tiles = p.source.kind === 'grouped' ? p.source.maxTiles : ceilDiv(p.tokens, p.tile);
  return [ceilDiv(p.shard.rowCount, rowsPerWorkgroup), tiles, 1];
}

/** Which x row and result row each item has, by expert. */
function itemsByExpert(p: LinearParams, io: ReferenceIo): Map<number, { x: number; y: number }[]> {
  const items = new Map<number, { x: number; y: number }[]>();
  if (p.source.kind !== 'grouped') {
    const picks = p.source.kind === 'picked' ? io.u('picks') : undefined;
    items.set(
      0,
      Array.from({ length: p.tokens }, (_, y) => ({ x: picks?.[y] ?? y, y })),
    );
    return items;
  }
  const tiles = io.u('tiles');
  const pairs = io.u('pairs');
  for (let tile = 0; tile < p.source.maxTiles; tile++) {
    const [expert, begin, count] = tiles.subarray(tile * 4, tile * 4 + 3);
    if (expert === 0xffffffff) continue;
    const list = items.get(expert) ?? [];
    for (const pair of pairs.subarray(begin, begin + count))
      list.push({ x: Math.floor(pair / p.source.perX), y: pair });
    items.set(expert, list);
  }
  return items;
}

/** `y = out(norm(x) Wᵀ)` in double precision. */
export function linearReference(p: LinearParams, io: ReferenceIo): void {
  const x = io.f('x');
  const y = io.f('y');
  const w = io.m('w');
  const gamma = p.norm === 'rms' ? io.f('gamma') : undefined;
  const { expertBegin, expertCount, rowBegin, rowCount } = p.shard;
  const row = new Float64Array(w.cols);
  const gate = new Float64Array(p.tokens);
  for (const [expert, items] of itemsByExpert(p, io)) {
    if (expert < expertBegin || expert >= expertBegin + expertCount) continue;
    const inputs = items.map((item) => normalised(x, item.x * p.xStride, p.K, gamma, p.eps));
    for (let r = 0; r < rowCount; r++) {
      w.row((expert - expertBegin) * rowCount + r, row);
      const n = rowBegin + r;
      items.forEach((item, i) => {
        const input = inputs[i];
        let sum = 0;
        for (let k = 0; k < p.K; k++) sum += input[k] * row[k];
        const at = item.y * p.yStride;
        if (p.out === 'store') y[at + n] = sum;
        else if (p.out === 'add') y[at + n] += sum;
        else if (n % 2 === 0) gate[i] = sum;
        else y[at + (n - 1) / 2] = (gate[i] / (1 + Math.exp(-gate[i]))) * sum;
      });
    }
  }
}

/** Row of x from element `at`, RMS-normalised when `gamma` is given. */
function normalised(
  x: Float64Array,
  at: number,
  K: number,
  gamma: Float64Array | undefined,
  eps: number,
): Float64Array {
  const row = x.slice(at, at + K);
  if (gamma === undefined) return row;
  let squares = 0;
  for (const value of row) squares += value * value;
  const scale = 1 / Math.sqrt(squares / K + eps);
  for (let k = 0; k < K; k++) row[k] *= scale * gamma[k];
  return row;
}

/**
 * FLOPs: 2 per weight and result row. Bytes: the weights that are touched, once (grouped: those of as many distinct
 * experts as evenly routed pairs hit), x and y once.
 */
export function linearCost(p: LinearParams): Cost {
  const { expertCount, rowCount } = p.shard;
  const share = p.source.kind === 'grouped' ? expertCount / p.source.experts : 1;
  const touched = p.source.kind === 'grouped' ? expectedExperts(p.source.experts, p.tokens) * share : 1;
  const rows = p.tokens * share;
  const out = p.out === 'swiglu' ? rowCount / 2 : rowCount;
  return {
    flops: 2 * rows * rowCount * p.K, // one multiply-add per weight
    bytesRead:
      touched * rowCount * padRow(p.K) * FORMAT_BYTES[p.format] + // w
      xRows(p) * p.K * 4 + // x
      (p.norm === 'rms' ? p.K * 4 : 0) + // gamma
      (p.out === 'add' ? rows * out * 4 : 0), // y before the addition
    bytesWritten: rows * out * 4, // y
  };
}

/** Expected number of distinct experts among `pairs` independent uniform choices. */
function expectedExperts(experts: number, pairs: number): number {
  return experts * (1 - (1 - 1 / experts) ** pairs);
}

/** Picks, tiles and pairs for a test or benchmark: a seeded routing that leaves some experts unused. */
export function linearInputs(p: LinearParams, random: () => number): Record<string, Values> {
  if (p.source.kind === 'picked') {
    const { sourceRows } = p.source;
    return { picks: Uint32Array.from({ length: p.tokens }, () => Math.floor(random() * sourceRows)) };
  }
  if (p.source.kind === 'all') return {};
  const { experts, maxTiles: most } = p.source;
  const groups = new Map<number, number[]>();
  for (let pair = 0; pair < p.tokens; pair++) {
    const expert = Math.floor(random() * experts);
    groups.set(expert, [...(groups.get(expert) ?? []), pair]);
  }
  const pairs: number[] = [];
  const tiles = new Uint32Array(most * 4);
  let tile = 0;
  for (const [expert, list] of [...groups].sort((a, b) => a[0] - b[0])) {
    for (let i = 0; i < list.length; i += p.tile) {
      tiles.set([expert, pairs.length + i, Math.min(p.tile, list.length - i), 0], tile++ * 4);
    }
    pairs.push(...list);
  }
  for (; tile < most; tile++) tiles.set([0xffffffff, 0, 1, 0], tile * 4);
  return { tiles, pairs: Uint32Array.from(pairs) };
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
    yStride: padRow(out === 'swiglu' ? N / 2 : N),
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
