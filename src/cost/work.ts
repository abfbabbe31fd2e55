/**
 * What a kernel call asks of a GPU, beyond its declared FLOPs and bytes: how many workgroups have work, how many
 * iterations follow each other within one, and which bytes can come from caches. Read off the same constants that
 * specialise the shader, so that a change of a kernel's layout changes its prediction.
 */
import { KernelError } from '../errors.ts';
import type { Cost } from '../kernels/kernel.ts';
import type { LinearParams } from '../kernels/linear.ts';
import type { AttentionParams } from '../kernels/mfa_decode.ts';
import type { ExpertsDownParams } from '../kernels/moe_down.ts';
import type { RouteParams } from '../kernels/moe_route.ts';
import type { KernelCall } from '../model/plan.ts';
import { ceilDiv, padRow } from '../tensor.ts';

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

type Layout = Pick<Work, 'family' | 'workgroups' | 'depth' | 'groupFlops'> & {
  readonly units?: Work['units'];
};
type Call = Pick<KernelCall, 'kernel' | 'params' | 'variant'>;

/**
 * The work of a call.
 *
 * @throws KernelError for a kernel that no law is known for.
 */
export function workOf(call: Call, options: WorkOptions): Work {
  const layoutOf = LAYOUTS[call.kernel.name];
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
    const p = params as AttentionParams;
    return kernel === 'mfa_combine' ? 0 : cost.bytesRead - p.tokens * p.heads * p.D * 4;
  }
  if (kernel === 'embed_tokens') return cost.bytesRead;
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
  const added = p.out === 'add' ? (p.tokens * shard.expertCount * shard.rowCount * 4) / experts : 0;
  const x = inputRows(p) * p.K * (kernel === 'matmul_matrix' ? 2 : 4);
  return Math.max(0, cost.bytesRead - x - added);
}

function expertsOfGroups(p: LinearParams): number {
  return p.source.kind === 'grouped' ? p.source.experts : 1;
}

function inputRows(p: LinearParams): number {
  if (p.source.kind === 'picked') return p.source.sourceRows;
  if (p.source.kind === 'routed') return ceilDiv(p.tokens, p.source.routing.topK);
  return p.source.kind === 'grouped' ? ceilDiv(p.tokens, p.source.perX) : p.tokens;
}

/** Constants of the specialised text, those of the variant included. */
function constantsOf(call: Call): Record<string, number> {
  return { ...call.kernel.constants(call.params), ...call.variant.constants } as Record<string, number>;
}

/** Tiles that have work in the shard of a linear call. */
function activeTiles(p: LinearParams, even = false): number {
  const { source, shard } = p;
  if (source.kind === 'routed') {
    return (p.tokens * shard.expertCount) / source.routing.experts;
  }
  if (source.kind !== 'grouped') return ceilDiv(p.tokens, p.tile);
  if (!even) return shard.expertCount * expectedTiles(p.tokens, 1 / source.experts, p.tile);
  const [each, rest] = [Math.floor(p.tokens / source.experts), p.tokens % source.experts];
  const tiles = rest * ceilDiv(each + 1, p.tile) + (source.experts - rest) * ceilDiv(each, p.tile);
  return (shard.expertCount / source.experts) * tiles;
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

function matvecLayout(call: Call, { subgroup, even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  const { WG, TOKENS, ROWS, GROUPS } = constantsOf(call);
  const team = call.variant.name === 'workgroup' ? 32 : subgroup;
  const teams = Math.max(1, WG / team);
  const parts = Math.max(Math.floor(teams / GROUPS), 1);
  const rounds = GROUPS / Math.min(teams, GROUPS);
  const blocks = ceilDiv(p.K, 8);
  const kind = p.source.kind === 'picked' ? 'all' : p.source.kind;
  const norm = p.norm === 'rms' ? 3 * TOKENS * GROUPS : 0; // square, sum, gamma per column and group
  return {
    family: `matvec ${call.variant.name} ${kind} x${TOKENS}`,
    workgroups: ceilDiv(p.shard.rowCount, ROWS * GROUPS) * activeTiles(p, even),
    depth: rounds * ceilDiv(blocks, team * parts),
    groupFlops: blocks * 8 * (2 * TOKENS * ROWS * GROUPS + norm),
  };
}

function matmulLayout(call: Call, { even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  return {
    family: `matmul ${p.source.kind === 'grouped' ? 'grouped' : 'all'}`,
    workgroups: ceilDiv(p.shard.rowCount, 64) * activeTiles(p, even),
    depth: ceilDiv(p.K, 16),
    groupFlops: 2 * 64 * 64 * ceilDiv(p.K, 16) * 16,
  };
}

function matmulMatrixLayout(call: Call, { even }: WorkOptions): Layout {
  const p = call.params as LinearParams;
  const c = constantsOf(call);
  const tokens = 16 * c.TM * c.SG_M;
  const rows = 16 * c.TN * c.SG_N;
  const depth = ceilDiv(p.K, c.DEPTH);
  const kind = p.source.kind === 'grouped' ? 'grouped' : 'all';
  return {
    family: `matmul_matrix ${kind} ${tokens}x${rows}x${c.DEPTH}/${c.SG_K}`,
    workgroups: ceilDiv(p.shard.rowCount, rows) * activeTiles(p, even),
    depth,
    groupFlops: 2 * tokens * rows * depth * c.DEPTH,
    units: 'matrix',
  };
}

/** `keys`: positions of a tile. */
function attentionLayout(call: Call, keys: number, heads: number, units: Work['units']): Layout {
  const p = call.params as AttentionParams;
  const slice = Math.min(p.splitLen, p.context);
  return {
    family: `${call.kernel.name} ${p.kv}`,
    workgroups: ceilDiv(p.context, p.splitLen) * p.tokens * ceilDiv(p.heads, heads),
    depth: ceilDiv(slice, keys),
    groupFlops: 4 * ceilDiv(slice, keys) * keys * heads * p.D,
    units,
  };
}

/** Invocations of the kernels with a fixed size. */
const WIDE = 256;
const NARROW = 64;

function rowsLayout(family: string, rows: number, K: number, passes: number): Layout {
  const depth = passes * ceilDiv(ceilDiv(K, 8), WIDE);
  return { family, workgroups: rows, depth, groupFlops: 4 * K };
}

const LAYOUTS: Readonly<Record<string, (call: Call, options: WorkOptions) => Layout>> = {
  matvec: matvecLayout,
  matmul: matmulLayout,
  matmul_matrix: matmulMatrixLayout,
  mfa_matrix: (call) => attentionLayout(call, 32, 64, 'matrix'),
  mfa_decode(call) {
    const { heads } = call.params as AttentionParams;
    const group = Math.min(64, ceilDiv(heads, 4) * 4);
    const layout = attentionLayout(call, group <= 32 ? 64 : 32, group, 'fma');
    // Few heads leave less to share.
    return { ...layout, family: `${layout.family} ${group <= 4 ? '4' : group <= 16 ? '16' : '64'} heads` };
  },
  mfa_combine(call) {
    const p = call.params as AttentionParams;
    const used = ceilDiv(p.context, p.splitLen);
    const abreast = Math.max(1, Math.floor(WIDE / (padRow(p.D) / 4)));
    return {
      // The statistics of more slices are shared between invocations, with barriers.
      family: `mfa_combine ${used <= 4 ? 'few' : 'many'}`,
      workgroups: p.tokens * p.heads,
      depth: 1 + ceilDiv(used, abreast),
      groupFlops: 2 * used * p.D,
    };
  },
  moe_down(call) {
    const p = call.params as ExpertsDownParams;
    const { WG } = constantsOf(call);
    const { experts, topK } = p.routing;
    const part = p.shard.expertCount / experts;
    const shareK = p.withShare ? p.shareK : 0;
    // A token none of whose experts is here, nor the shared one, has nothing to do.
    const busy = p.withShare ? 1 : 1 - (1 - part) ** topK;
    return {
      family: `moe_down ${call.variant.name}`,
      workgroups: ceilDiv(p.shard.rowCount, 8) * p.tokens * busy,
      depth: ceilDiv(ceilDiv(p.shareK, 8) + topK * ceilDiv(p.K, 8), WG),
      groupFlops: (2 * 8 * (padRow(shareK) + topK * part * padRow(p.K))) / busy,
    };
  },
  moe_route(call) {
    const p = call.params as RouteParams;
    const pairs = p.tokens * p.topK;
    const whole = Math.floor(pairs / WIDE);
    return {
      family: 'moe_route',
      workgroups: 1,
      // Each choice and the sum look at all experts; then every pair looks at those placed with it.
      depth: ceilDiv(p.tokens, WIDE) * p.experts * (p.topK + 1) + p.experts + whole * WIDE + (pairs % WIDE),
      groupFlops: 0,
    };
  },
  moe_combine(call) {
    const p = call.params as { tokens: number; K: number; topK: number };
    const workgroups = ceilDiv(p.K, NARROW) * p.tokens;
    return { family: 'moe_combine', workgroups, depth: 1, groupFlops: 2 * NARROW * p.topK };
  },
  rmsnorm(call) {
    const p = call.params as { tokens: number; K: number };
    return rowsLayout('rmsnorm', p.tokens, p.K, 2);
  },
  half_rows(call) {
    const p = call.params as { rows: number; K: number; norm: string };
    return rowsLayout(`half_rows ${p.norm}`, p.rows, p.K, p.norm === 'rms' ? 2 : 1);
  },
  embed_tokens(call) {
    const p = call.params as { tokens: number; K: number };
    return { family: 'embed_tokens', workgroups: p.tokens * ceilDiv(p.K, 512), depth: 1, groupFlops: 0 };
  },
  rope_turns(call) {
    const p = call.params as { tokens: number; D: number };
    const depth = ceilDiv(p.D / 2, NARROW);
    return { family: 'rope_turns', workgroups: p.tokens, depth, groupFlops: 20 * (p.D / 2) };
  },
  rope_cache(call) {
    const p = call.params as { tokens: number; heads: number; D: number };
    const workgroups = ceilDiv(((p.heads + 2) * padRow(p.D)) / 4, NARROW) * p.tokens;
    return { family: 'rope_cache', workgroups, depth: 1, groupFlops: 3 * 4 * NARROW };
  },
  sample(call, { greedy }) {
    const p = call.params as { rows: number; vocab: number };
    return {
      family: `sample ${greedy ? 'greedy' : 'draw'}`,
      workgroups: p.rows,
      depth: ceilDiv(p.vocab, 4 * 4 * WIDE),
      groupFlops: 3 * p.vocab,
    };
  },
};
