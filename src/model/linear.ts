/** Linear layers of a plan: which kernel runs them, and one call per shard of the weights. */

import type { LinearParams, RowSource } from '../kernels/linear.ts';
import { MATMUL_TILE, matmul } from '../kernels/matmul.ts';
import { matvec } from '../kernels/matvec.ts';
import { rmsnorm } from '../kernels/rmsnorm.ts';
import { padRow } from '../tensor.ts';
import { shardName, type WeightMatrix } from '../weights/layout.ts';
import type { PlanBuilder } from './plan.ts';

/** Result rows up to which weights are read once per small tile instead of going through workgroup memory. */
const MATVEC_ROWS = 16;

/** Rows per tile of a plan whose results must not depend on the number of tokens. */
const DETERMINISTIC_TILE = 4;

/** A linear layer to be planned. */
export interface LinearCall {
  readonly weights: WeightMatrix;
  readonly x: string;
  readonly y: string;
  /** Result rows. */
  readonly rows: number;
  /** Rows of x. */
  readonly xRows: number;
  /** Elements from one row of x to the next; the padded width of the weights when absent. */
  readonly xStride?: number;
  /** Slot of the gamma of an RMSNorm of x. */
  readonly gamma?: string;
  readonly eps?: number;
  readonly out: LinearParams['out'];
  readonly source: RowSource;
  /** Slots of picks, or tiles and pairs. */
  readonly sourceSlots?: Readonly<Record<string, string>>;
  readonly tile: number;
}

/** Rows per tile for dense layers of `rows` result rows: matmul's tile says that matmul is to be used. */
export function denseTile(rows: number, deterministic: boolean): number {
  if (deterministic) return DETERMINISTIC_TILE;
  if (rows > MATVEC_ROWS) return MATMUL_TILE;
  return rows <= 1 ? 1 : rows <= 2 ? 2 : rows <= 4 ? 4 : 8;
}

/** Rows per tile for expert layers: many pairs per expert go through matmul. */
export function expertTile(tokens: number, topK: number, experts: number, deterministic: boolean): number {
  if (deterministic) return DETERMINISTIC_TILE;
  if (tokens === 1) return 1;
  return tokens > MATVEC_ROWS && (tokens * topK) / experts > 8 ? MATMUL_TILE : 4;
}

/** Adds the calls of one linear layer: an explicit norm before matmul (folded into matvec), then one per shard. */
export function planLinear(plan: PlanBuilder, call: LinearCall): void {
  const { weights } = call;
  const tiled = call.tile === MATMUL_TILE;
  let x = call.x;
  let xStride = call.xStride ?? padRow(weights.cols);
  if (tiled && call.gamma !== undefined) {
    x = normSlot(plan, call, xStride);
    xStride = padRow(weights.cols);
  }
  const norm = call.gamma !== undefined && !tiled;
  for (const [i, shard] of weights.shards.entries()) {
    const params: LinearParams = {
      format: weights.format,
      tokens: call.rows,
      source: call.source,
      K: weights.cols,
      N: weights.rows,
      shard,
      xStride,
      yStride: padRow(call.out === 'swiglu' ? weights.rows / 2 : weights.rows),
      norm: norm ? 'rms' : 'none',
      eps: call.eps ?? 0,
      out: call.out,
      tile: call.tile,
    };
    const slots: Record<string, string> = {
      w: shardName(weights.name, i),
      x,
      y: call.y,
      ...call.sourceSlots,
    };
    if (norm && call.gamma !== undefined) slots.gamma = call.gamma;
    plan.call(tiled ? matmul : matvec, params, slots, weights.name);
  }
}

function normSlot(plan: PlanBuilder, call: LinearCall, xStride: number): string {
  const K = call.weights.cols;
  const y = `norm_${padRow(K)}`;
  const params = { tokens: call.xRows, K, xStride, eps: call.eps ?? 0 };
  plan.call(rmsnorm, params, { x: call.x, y, gamma: call.gamma ?? '' }, `${call.weights.name} (norm)`);
  return y;
}
