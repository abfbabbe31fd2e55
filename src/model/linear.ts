/** Linear layers of a plan: which kernel runs them, and one call per buffer of the weights, or group of buffers. */
import { isPlain } from '../formats/index.ts';
import { half_rows } from '../kernels/half_rows.ts';
import type { Capabilities, Kernel } from '../kernels/kernel.ts';
import { type LinearParams, type RowSource, sharedRows } from '../kernels/linear.ts';
import { fitsHalf } from '../kernels/linear_out.ts';
import { MATMUL_ROWS, MATMUL_TILE, matmul } from '../kernels/matmul.ts';
import { matmul_join } from '../kernels/matmul_join.ts';
import { matmul_matrix, splitOf } from '../kernels/matmul_matrix.ts';
import { HALF_TILE, hasTile, matrixUs } from '../kernels/matrix_layout.ts';
import { matvec } from '../kernels/matvec.ts';
import { fitsRows, matvec_rows } from '../kernels/matvec_rows.ts';
import { matvec_units } from '../kernels/matvec_units.ts';
import { SUBGROUP_32_PARTS } from '../kernels/parts.ts';
import { rmsnorm } from '../kernels/rmsnorm.ts';
import { ceilDiv, padRow, type WeightFormat } from '../tensor.ts';
import type { WeightMatrix } from '../weights/layout.ts';
import type { PlanBuilder } from './plan.ts';
import { type ShardGroup, shardGroups } from './shards.ts';
import type { StepShape } from './step.ts';

/** Which kernel computes a linear layer, and how many rows of x it handles together. */
export interface Tiling {
  readonly kernel: typeof matvec | typeof matmul | typeof matmul_matrix;
  readonly tile: number;
  /** Whether no other kernel may take matvec's place, whose additions would have another order. */
  readonly fixed?: true;
}

/**
 * Result rows up to which matvec is faster than products through workgroup memory, and those that experts get each, on average;
 * then the rows up to which it is faster than matrix units.
 */
const MATVEC_MOST = { processor: { rows: 40, each: 40 }, gpu: { rows: 16, each: 8 } } as const;
const MATVEC_ROWS_BEFORE_MATRIX = 4;

const matvecMost = ({ processor }: TilingOf) => (processor ? MATVEC_MOST.processor : MATVEC_MOST.gpu);

/** Rows that an expert gets on average, above which matrix units are faster than matvec. Found by measurement. */
const MATRIX_EACH = { plain: 1.25, compressed: 0.75 } as const;

/** The same up to which tiles of two tokens are faster than of four, on adapters without matrix units. */
const TWO_EACH = 1;

/** Weights below which a dispatch more, to convert x, costs more than matrix units bring. */
const SMALL_MATRIX = 2 ** 22;

/**
 * Weights from which a call to normalise x costs less than every workgroup's share of that, four tokens at a time: 3 us
 * against 7 % of the time that the weights take.
 */
const APART_WEIGHTS = 2 ** 26;

/** Most rows of a matvec tile: sums for more do not fit into registers. */
const MATVEC_TILE = 4;

/** A linear layer to be planned. */
export interface LinearCall {
  readonly weights: WeightMatrix;
  /** Buffers that calls bind together; as many of the weights' as there is room for when absent. */
  readonly groups?: readonly ShardGroup[];
  readonly x: string;
  /** Whether x is binary16 already (rows on matrix units only). */
  readonly xHalf?: boolean;
  readonly y: string;
  /** Whether y is left as binary16, see {@link leavesHalf}. */
  readonly half?: boolean;
  /** Result rows. */
  readonly rows: number;
  /** Rows of x. */
  readonly xRows: number;
  /** Elements from one row of x to the next; the padded width of the weights when absent. */
  readonly xStride?: number;
  /** Slot of the gamma of an RMSNorm of x. */
  readonly gamma?: string;
  /** Whether a call before with the same kernel has left that norm of x. */
  readonly normed?: boolean;
  readonly eps?: number;
  readonly out: LinearParams['out'];
  /** Of swiglu: bound of the activations; 0 or absent = none. */
  readonly limit?: number;
  readonly rope?: LinearParams['rope'];
  /** Slots of what the output binds beside y. */
  readonly outSlots?: Readonly<Record<string, string>>;
  readonly source: RowSource;
  /** Slots of picks, or tiles and pairs. */
  readonly sourceSlots?: Readonly<Record<string, string>>;
  readonly tiling: Tiling;
}

/** What a choice of tiling depends on, beside the shape of the layer. */
type TilingOf = Pick<StepShape, 'deterministic' | 'matrixUnits' | 'processor'>;

/** Of deterministic plans: one tile size, so that the order of additions is the same for any number of rows. */
const FIXED_TILING: Tiling = { kernel: matvec, tile: MATVEC_TILE, fixed: true };

const matvecTiling = (rows: number): Tiling => ({
  kernel: matvec,
  tile: rows <= 1 ? 1 : rows <= 2 ? 2 : MATVEC_TILE,
});

/**
 * Compressed weights have a matvec of their own for one or two rows of x (matvec_units). Up to so many rows it is faster than
 * matrix units, beside which it takes rows by twos where x has no more columns than `most`, and else one by one; without them it
 * takes any by twos, as long as matvec is for plain weights. Found by measurement.
 */
const BY_TWOS = { rows: 6, most: 4096 } as const;
const ONE_BY_ONE = { rows: 5 } as const;
/** The same for experts, by how many rows each gets on average: without matrix units. */
const COMPRESSED_EACH = 2;

/** Whether the format of all rows of `weights` is one that `fits`. */
function everyFormat(weights: readonly WeightMatrix[], fits: (format: WeightFormat) => boolean): boolean {
  return weights.every(({ shards }) => shards.every(({ format }) => fits(format)));
}

/** Whether weights are compressed, all of them. */
function isCompressed(...weights: readonly WeightMatrix[]): boolean {
  return everyFormat(weights, (format) => !isPlain(format));
}

/** Whether layers may use matrix units: their factors are binary16, which would take precision from f32 weights. */
function hasMatrixUnits(shape: TilingOf, ...weights: readonly WeightMatrix[]): boolean {
  return shape.matrixUnits && everyFormat(weights, (format) => format !== 'f32');
}

/** Rows of x that matrix units handle together, of `tokens` with the same weights. */
function matrixTile(tokens: number, weights: WeightMatrix): number {
  if (tokens <= HALF_TILE && isCompressed(weights)) return HALF_TILE;
  if (tokens <= 64) return tokens <= 16 ? 16 : 64;
  const shape = { plain: !isCompressed(weights), roped: false, tokens, rows: weights.rows, K: weights.cols };
  return matrixUs({ ...shape, tile: 64 }) < matrixUs({ ...shape, tile: 128 }) ? 64 : 128;
}

/** Pairs of an expert, on average, up to which tiles of so many hold nearly all that it gets. */
const EXPERT_TILES = [
  [5, 8],
  [16, 16],
  [56, 64],
  [84, 96],
] as const;

/** The same for experts that get `each` pairs on average. Some tiles are not for compressed weights. */
function expertTile(each: number, plain: boolean): number {
  const fitting = EXPERT_TILES.find(([most, tile]) => each <= most && hasTile(tile, plain, true));
  return fitting?.[1] ?? 128;
}

/** How dense layers of `rows` result rows are computed. */
export function denseTiling(rows: number, shape: TilingOf, weights: WeightMatrix): Tiling {
  if (shape.deterministic) return FIXED_TILING;
  const few = matvecMost(shape).rows;
  const small = rows <= few && weights.rows * weights.cols < SMALL_MATRIX;
  // Few rows of another format beside compressed ones go as these do.
  const compressed = weights.shards.some(({ format }) => !isPlain(format));
  const units = hasMatrixUnits(shape, weights);
  if (compressed) {
    const byTwos = !units || weights.cols <= BY_TWOS.most;
    const most = units && !small ? (byTwos ? BY_TWOS : ONE_BY_ONE).rows : few;
    if (rows <= most) return matvecTiling(byTwos ? Math.min(rows, 2) : 1);
  }
  if (small) return matvecTiling(rows);
  if (units && (rows > MATVEC_ROWS_BEFORE_MATRIX || compressed)) {
    return { kernel: matmul_matrix, tile: matrixTile(rows, weights) };
  }
  return rows > few ? { kernel: matmul, tile: MATMUL_TILE } : matvecTiling(rows);
}

/** Tiles of a router from which products through workgroup memory are faster: enough to occupy a large GPU. */
const ROUTER_TILES = 64;

/** How the router of so many experts is computed: never on matrix units, as rounding might change its choice. */
export function routerTiling(tokens: number, shape: TilingOf, experts: number): Tiling {
  if (shape.deterministic) return FIXED_TILING;
  const tiles = ceilDiv(tokens, MATMUL_TILE) * ceilDiv(experts, MATMUL_ROWS);
  return tiles < ROUTER_TILES ? matvecTiling(tokens) : { kernel: matmul, tile: MATMUL_TILE };
}

/** How expert layers are computed, by how many of the pairs an expert gets on average. */
export function expertTiling(
  tokens: number,
  topK: number,
  experts: number,
  shape: TilingOf,
  weights: readonly WeightMatrix[],
): Tiling {
  if (shape.deterministic) return FIXED_TILING;
  if (tokens === 1) return matvecTiling(1);
  const each = (tokens * topK) / experts;
  const plain = everyFormat(weights, isPlain);
  const units = hasMatrixUnits(shape, ...weights);
  if (units && each > MATRIX_EACH[plain ? 'plain' : 'compressed']) {
    return { kernel: matmul_matrix, tile: expertTile(each, plain) };
  }
  if (each <= COMPRESSED_EACH && isCompressed(...weights)) return matvecTiling(1);
  const most = matvecMost(shape);
  if (tokens > most.rows && each > most.each) return { kernel: matmul, tile: MATMUL_TILE };
  return matvecTiling(units || each <= TWO_EACH ? 2 : MATVEC_TILE);
}

/**
 * Adds the calls of one linear layer: before tiled kernels an explicit norm, which matvec mostly folds in, or the conversion
 * to binary16 for matrix units; then one call per shard, or for all those that fit where matvec reads chosen experts.
 */
export function planLinear(plan: PlanBuilder, call: LinearCall): void {
  const { weights, tiling } = call;
  const { kernel: layerKernel, apart } = kernelOf(call, plan.caps);
  let x = call.x;
  let xStride = call.xStride ?? padRow(weights.cols);
  if (tiling.kernel === matmul_matrix) x = call.xHalf === true ? x : halfSlot(plan, call, xStride);
  else if (apart) {
    // Another matvec before may have folded the norm in, and left nothing.
    x = normSlot(plan, tiling.kernel === matvec ? { ...call, normed: false } : call, xStride);
  }
  if (x !== call.x) xStride = padRow(weights.cols);
  const norm = call.gamma !== undefined && tiling.kernel === matvec && !apart;
  const gamma: Record<string, string> = norm && call.gamma !== undefined ? { gamma: call.gamma } : {};
  const others = { x, y: call.y, ...call.sourceSlots, ...call.outSlots, ...gamma };
  const together = tiling.kernel === matvec ? plan.caps.maxStorageBuffers - Object.keys(others).length : 1;
  for (const { shard, row, buffers, slots } of call.groups ?? shardGroups(weights, together)) {
    const params: LinearParams = {
      ...row,
      tokens: call.rows,
      source: call.source,
      K: weights.cols,
      N: weights.rows,
      shard,
      ...(buffers === undefined ? {} : { buffers }),
      xStride,
      yStride: yStride(call),
      norm: norm ? 'rms' : 'none',
      eps: call.eps ?? 0,
      out: call.out,
      ...(call.limit === undefined ? {} : { limit: call.limit }),
      ...(call.half === true ? { half: true } : {}),
      ...(call.rope === undefined ? {} : { rope: call.rope }),
      tile: tiling.tile,
    };
    const units = layerKernel === matvec && tiling.fixed !== true && tiling.tile <= 2 && !isPlain(row.format);
    const kernel = units ? matvec_units : layerKernel;
    const splitK = kernel === matmul_matrix ? splitOf(params) : undefined;
    const parts: Record<string, string> = splitK === undefined ? {} : { parts: 'linear_parts' };
    const split = { ...params, splitK };
    plan.call(kernel, split, { ...slots, ...others, ...parts }, weights.name);
    if (splitK === undefined) continue;
    plan.call(matmul_join, split, { y: call.y, ...call.outSlots, ...parts }, `${weights.name} (join)`);
  }
}

/** Slot of results that are binary16 for some calls of a plan and f32 for others: one for each type. */
export function typedSlot(name: string, half: boolean): string {
  return half ? `${name}_half` : name;
}

/** Whether a layer reads its rows as binary16, so that whoever makes them had better leave them so. */
export function readsHalf(to: Tiling): boolean {
  return to.kernel === matmul_matrix;
}

/** Whether a SwiGLU of `weights` can leave its results as binary16 for what reads them. */
export function leavesHalf(weights: WeightMatrix, from: Tiling, to: Tiling): boolean {
  const fits = (shard: WeightMatrix['shards'][number]) => fitsHalf({ out: 'swiglu', N: weights.rows, shard });
  return from.kernel === matmul_matrix && readsHalf(to) && weights.shards.every(fits);
}

/**
 * The kernel of a layer, and whether the norm of x has a call of its own. Large matrices of 16 bits have a kernel of their own in
 * matvec's place.
 */
function kernelOf(call: LinearCall, caps: Capabilities): { kernel: Kernel<LinearParams>; apart: boolean } {
  const { kernel, fixed } = call.tiling;
  const norm = call.gamma === undefined ? 'none' : 'rms';
  if (kernel !== matvec) return { kernel, apart: norm === 'rms' && kernel === matmul };
  const rows = fixed !== true && call.groups === undefined && SUBGROUP_32_PARTS.available(caps);
  if (rows && fitsAll(call, norm)) return { kernel: matvec_rows, apart: false };
  const apart = norm === 'rms' && normsApart(call);
  return { kernel: rows && apart && fitsAll(call, 'none') ? matvec_rows : matvec, apart };
}

/** Whether matvec_rows is faster than matvec with all buffers of a layer's weights. */
function fitsAll({ weights, tiling, source, rows }: LinearCall, norm: LinearParams['norm']): boolean {
  const { tile } = tiling;
  return weights.shards.every((shard) =>
    fitsRows({ format: shard.format, tokens: rows, source, K: weights.cols, shard, norm, tile }),
  );
}

/** Whether normalising x in a call of its own is faster than in every workgroup of matvec. */
function normsApart({ weights, tiling, source }: LinearCall): boolean {
  return source.kind !== 'routed' && tiling.tile > 2 && weights.rows * weights.cols >= APART_WEIGHTS;
}

function yStride(call: LinearCall): number {
  const rows = Math.max(call.weights.rows, sharedRows(call.source));
  if (call.out === 'qkv') return call.rope?.kAt ?? rows;
  return padRow(call.out === 'swiglu' ? rows / 2 : rows);
}

/** Slot of the norm of x; adds the call that makes it. */
function normSlot(plan: PlanBuilder, call: LinearCall, xStride: number): string {
  const K = call.weights.cols;
  const y = `norm_${padRow(K)}`;
  if (call.normed === true) return y;
  const params = { tokens: call.xRows, K, xStride, eps: call.eps ?? 0 };
  plan.call(rmsnorm, params, { x: call.x, y, gamma: call.gamma ?? '' }, `${call.weights.name} (norm)`);
  return y;
}

/** Slot of x, normalised if there is a gamma, as binary16; adds the call that makes it. */
function halfSlot(plan: PlanBuilder, call: LinearCall, xStride: number): string {
  const K = call.weights.cols;
  const { gamma } = call;
  const y = `${gamma === undefined ? 'half' : 'half_norm'}_${padRow(K)}`;
  if (call.normed === true) return y;
  const norm = gamma === undefined ? 'none' : 'rms';
  const params = { rows: call.xRows, K, xStride, norm, eps: call.eps ?? 0 } as const;
  const slots = { x: call.x, y, ...(gamma === undefined ? {} : { gamma }) };
  plan.call(half_rows, params, slots, `${call.weights.name} (f16)`);
  return y;
}
