/**
 * What a kernel call asks of a GPU, beyond its declared FLOPs and bytes: how many workgroups have work, how many
 * iterations follow each other within one, and which bytes can come from caches. Read off the same constants that
 * specialise the shader, so that a change of a kernel's layout changes its prediction.
 */
import { KernelError } from '../errors.ts';
import type { Cost } from '../kernels/kernel.ts';
import { type LinearParams, xRows } from '../kernels/linear.ts';
import { mfa_tile, type TileParams } from '../kernels/mfa_tile.ts';
import type { ExpertsDownParams } from '../kernels/moe_down.ts';
import type { LaidOut, LayoutOf } from './layout.ts';
import { ATTENTION_LAYOUTS } from './layouts_attention.ts';
import { LINEAR_LAYOUTS } from './layouts_linear.ts';
import { ROW_LAYOUTS } from './layouts_rows.ts';

/** Work of one call. Expected values where they depend on the routing. */
export interface Work {
  /** Calls whose times follow one law with the same parameters. */
  readonly family: string;
  /** FLOPs and bytes as the kernel declares them, at the true context. */
  readonly cost: Cost;
  /** Bytes read that nothing since the last step has touched: weights and caches. */
  readonly streamed: number;
  /** Bytes read that an earlier call of the step has just written. */
  readonly near: number;
  /** Workgroups that do not end at once. */
  readonly workgroups: number;
  /** Iterations of a workgroup that wait for each other. */
  readonly depth: number;
  /** FLOPs of a workgroup, counting rows, columns and tokens that only fill up tiles. */
  readonly groupFlops: number;
  /** Which arithmetic these FLOPs are. */
  readonly units: 'fma' | 'matrix';
}

/** What a call's work depends on beside its parameters. */
export interface WorkOptions {
  /** Positions that every sequence attends to. */
  readonly context: number;
  /** Invocations of a subgroup. */
  readonly subgroup: number;
  /** Whether sampling only looks for the largest logit. */
  readonly greedy: boolean;
  /** Whether pairs are spread evenly over experts, as in probes, instead of at random. */
  readonly even?: boolean;
}

/** Layouts by kernel: a new kernel gets a law by an entry here, and probes of its families in `bench/probe_shapes.ts`. */
const LAYOUTS: Readonly<Record<string, LayoutOf>> = {
  ...LINEAR_LAYOUTS,
  ...ATTENTION_LAYOUTS,
  ...ROW_LAYOUTS,
};

/**
 * The work of a call.
 *
 * @throws KernelError for a kernel that no law is known for.
 */
export function workOf(call: LaidOut, options: WorkOptions): Work {
  const layoutOf = Object.hasOwn(LAYOUTS, call.kernel.name) ? LAYOUTS[call.kernel.name] : undefined;
  if (layoutOf === undefined) throw new KernelError(call.kernel.name, 'the cost model has no law for it');
  const params = atContext(call.params, options.context);
  const cost: Cost = call.kernel.cost(params);
  const streamed = Math.min(cost.bytesRead, streamedBytes(call.kernel.name, params, cost));
  return {
    units: 'fma',
    ...layoutOf({ ...call, params }, options),
    cost,
    streamed,
    near: cost.bytesRead - streamed,
  };
}

/** Parameters with the true context in place of the planned one, which is a bound. */
function atContext(params: unknown, context: number): unknown {
  const planned = params as { context?: number };
  return planned.context === undefined ? params : { ...planned, context: Math.min(context, planned.context) };
}

/** Weights and caches among the bytes that a call reads: what is left after its activations. */
function streamedBytes(kernel: string, params: unknown, cost: Cost): number {
  if (kernel.startsWith('mfa_')) {
    const p = params as TileParams;
    if (kernel === 'mfa_combine') return 0;
    const ready = p.fresh === undefined ? cost : mfa_tile.cost({ ...p, fresh: undefined });
    return ready.bytesRead - p.tokens * p.heads * p.D * 4;
  }
  if (kernel === 'embed_tokens') return cost.bytesRead;
  if (kernel === 'matmul_join') return 0;
  const { shard, K, format } = params as Partial<LinearParams & ExpertsDownParams>;
  if (shard === undefined || K === undefined || format === undefined) return 0;
  if (kernel === 'moe_down') {
    const p = params as ExpertsDownParams;
    const part = shard.expertCount / p.routing.experts;
    const inputs = p.tokens * (p.routing.topK * part * p.K + (p.withShare ? p.shareK : 0)) * 4;
    return cost.bytesRead - inputs - p.tokens * (p.routing.experts + shard.rowCount) * 4;
  }
  const p = params as LinearParams;
  const experts = p.source.kind === 'routed' ? p.source.routing.experts : expertsOfGroups(p);
  const added =
    p.out === 'add' ? (p.tokens * shard.expertCount * (p.splitK?.from ?? shard.rowCount) * 4) / experts : 0;
  const x = xRows(p) * p.K * (kernel === 'matmul_matrix' ? 2 : 4);
  return Math.max(0, cost.bytesRead - x - added);
}

function expertsOfGroups(p: LinearParams): number {
  return p.source.kind === 'grouped' ? p.source.experts : 1;
}
