/** Down projections of the shared and the chosen experts for few tokens, weighted and added to the residual stream. */
import { KernelError } from '../errors.ts';
import { isPlain, rowBytes } from '../formats/index.ts';
import { ceilDiv, padRow, type WeightFormat } from '../tensor.ts';
import type { RowRange } from '../weights/layout.ts';
import { type Buffers, buffersBindings, buffersConstants, buffersFault, buffersMatrix } from './buffers.ts';
import { LEVEL_FORMATS, MAIN_FORMATS } from './format_cases.ts';
import {
  type BindingSpec,
  defineKernel,
  type Kernel,
  LARGE_SUBGROUP_TEAM,
  SMALL_SUBGROUP_TEAM,
  type Variant,
  WORKGROUP_TEAM,
} from './kernel.ts';
import { exact, roundedBytes, roundedTolerance, usesBytes, withBytes } from './packed_bytes.ts';
import {
  chooseExperts,
  distinctExperts,
  type Routing,
  routeLibs,
  routingBindings,
  routingConstants,
  routingFault,
  routingInputs,
} from './routing.ts';
import {
  downLibs,
  type Levels,
  unitWorkgroup,
  weightBinding,
  weightConstants,
  weightFault,
} from './weights.ts';

export interface ExpertsDownParams {
  /** Of both matrices. */
  readonly format: WeightFormat;
  /** Columns that share a scale (`fp8`, `int4`). */
  readonly group?: number | undefined;
  readonly tokens: number;
  readonly routing: Routing;
  /** moe_intermediate_size. */
  readonly K: number;
  /** share_expert_dim; 0 without a shared expert, whose weights and activations are then bound to any others of their type. */
  readonly shareK: number;
  /** hidden_size. */
  readonly N: number;
  /** Experts, or rows of one, that the bound buffers hold. */
  readonly shard: RowRange;
  /** Experts of each buffer, where they lie in several. */
  readonly buffers?: Buffers;
  /** Whether this call adds the shared expert's part; where experts are split, those that hold the first one. */
  readonly withShare: boolean;
  /** Whether x holds the shared expert's activations too, after those of each token's choices; `share_x` then is x. */
  readonly shareInX?: boolean;
}

/** Rows of x of a token. */
const rowsEach = (p: ExpertsDownParams): number => p.routing.topK + (p.shareInX === true ? 1 : 0);

/** x, whose rows are as wide as the widest that they hold. */
function xBinding(p: ExpertsDownParams): BindingSpec {
  const cols = p.shareInX === true ? Math.max(p.K, p.shareK) : p.K;
  return { type: 'f32', dims: [p.tokens * rowsEach(p), padRow(cols)], cols, use: 'in' };
}

/** share_w; without a shared expert one row, of anything. */
function shareWeights(p: ExpertsDownParams): BindingSpec {
  return p.shareK === 0 ? weightBinding(p, 1, p.K) : weightBinding(p, p.N, p.shareK);
}

/** share_x, which may be x. */
function shareBinding(p: ExpertsDownParams): BindingSpec {
  if (p.shareInX === true || p.shareK === 0) return xBinding(p);
  return { type: 'f32', dims: [p.tokens, padRow(p.shareK)], cols: p.shareK, use: 'in' };
}

/** Rows from which there are workgroups enough for small ones to keep a large GPU busy. */
const MANY_ROWS = 6144;

/** Invocations of workgroups that have more units of 32 columns than they could have invocations. */
const LONG_WORKGROUPS = [128];

/** Invocations of a workgroup: no more than there are blocks of 8 columns, or units of 32. Found by measurement. */
function workgroup(p: ExpertsDownParams): number {
  const items = (step: number) => ceilDiv(p.shareK, step) + p.routing.topK * ceilDiv(p.K, step);
  if (!isPlain(p.format)) return unitWorkgroup(items(32), LONG_WORKGROUPS);
  const blocks = items(8);
  if (blocks <= 64) return 64;
  return blocks <= 128 || p.N >= MANY_ROWS ? 128 : 256;
}

/** Workgroups of 16 rows that keep a large GPU busy, and most of their invocations, for whose sums there is memory. */
const BUSY = { workgroups: 400, invocations: 128 };

/** Rows of a workgroup: more of compressed weights, which share an x made ready, where there are enough of them. */
export function downRows(p: ExpertsDownParams): 8 | 16 {
  const many = p.tokens * ceilDiv(p.shard.rowCount, 16) >= BUSY.workgroups;
  return !isPlain(p.format) && many && workgroup(p) <= BUSY.invocations ? 16 : 8;
}

const LARGE = exact(LARGE_SUBGROUP_TEAM);
const LARGE_BYTES = withBytes(LARGE);

/** Fastest first: as of matvec_units. */
const BYTES = [roundedBytes(LARGE_BYTES), LARGE_BYTES];

/** Where levels are found. */
const levelsOf = ({ name }: Variant): Levels => (name.startsWith(LARGE.name) ? 'memory' : 'computed');

export const moe_down: Kernel<ExpertsDownParams> = defineKernel<ExpertsDownParams>({
  name: 'moe_down',
  summary:
    'h += shared expert down + Σ weight · chosen expert down, for few tokens straight from router logits',
  variants: [...BYTES, LARGE, exact(SMALL_SUBGROUP_TEAM), exact(WORKGROUP_TEAM)],
  libs: (p, variant) => [
    ...downLibs(p, p.buffers, usesBytes(variant), levelsOf(variant)),
    'lib/x_blocks',
    ...routeLibs(p.routing),
    'lib/out_add',
  ],
  check(p) {
    const fault = routingFault(p.routing);
    if (fault !== undefined) throw new KernelError('moe_down', fault);
    const format = weightFault(p, p.K) ?? (p.shareK === 0 ? undefined : weightFault(p, p.shareK));
    if (format !== undefined) throw new KernelError('moe_down', format);
    const { rowBegin, rowCount, expertBegin, expertCount } = p.shard;
    const buffers = buffersFault(p.buffers, expertCount);
    if (buffers !== undefined) throw new KernelError('moe_down', buffers);
    if (!(p.tokens >= 1 && p.K >= 1 && p.shareK >= (p.withShare ? 1 : 0) && rowCount >= 1))
      throw new KernelError('moe_down', `expected tokens, K, shareK, rows >= 1, got ${JSON.stringify(p)}`);
    if (rowBegin + rowCount > p.N || expertBegin + expertCount > p.routing.experts)
      throw new KernelError('moe_down', `shard: expected a part of the experts, got ${JSON.stringify(p)}`);
  },
  constants: (p) => ({
    WG: workgroup(p),
    ROWS: downRows(p),
    K: p.K,
    SHARE_K: p.shareK,
    SHARE_IN_X: p.shareInX === true,
    ...weightConstants(p),
    ...buffersConstants(p.buffers),
    ...routingConstants(p.routing),
  }),
  uniforms: (p) => ({
    expert_begin: p.shard.expertBegin,
    expert_count: p.shard.expertCount,
    row_begin: p.shard.rowBegin,
    row_count: p.shard.rowCount,
    y_stride: padRow(p.N),
    with_share: p.withShare ? 1 : 0,
  }),
  bindings: (p) => ({
    ...routingBindings(p.routing, p.tokens),
    ...buffersBindings(p.buffers, p.shard.expertCount, p, p.shard.rowCount, p.K),
    share_w: shareWeights(p),
    x: xBinding(p),
    share_x: shareBinding(p),
    y: { type: 'f32', dims: [p.tokens, padRow(p.N)], cols: p.N, use: 'inout' },
  }),
  workgroups: (p) => [p.tokens, ceilDiv(p.shard.rowCount, downRows(p)), 1],
  reference(p, io) {
    const { expertBegin, expertCount, rowBegin, rowCount } = p.shard;
    const { topK } = p.routing;
    const each = rowsEach(p);
    const [, xStride] = xBinding(p).dims;
    const [, shareStride] = shareBinding(p).dims;
    const y = io.f('y');
    const x = io.f('x');
    const w = buffersMatrix(p.buffers, rowCount, io);
    const shareRow = new Float64Array(padRow(p.shareK));
    const row = new Float64Array(padRow(p.K));
    const dot = (a: Float64Array, b: Float64Array, at: number, length: number) => {
      let sum = 0;
      for (let k = 0; k < length; k++) sum += a[k] * b[at + k];
      return sum;
    };
    for (let t = 0; t < p.tokens; t++) {
      const { experts, weights } = chooseExperts(p.routing, io, t);
      for (let r = 0; r < rowCount; r++) {
        const n = rowBegin + r;
        let sum = 0;
        if (p.withShare) {
          io.m('share_w').row(n, shareRow);
          const at = p.shareInX === true ? t * each + topK : t;
          sum += dot(shareRow, io.f('share_x'), at * shareStride, p.shareK);
        }
        experts.forEach((expert, i) => {
          if (expert < expertBegin || expert >= expertBegin + expertCount) return;
          w.row((expert - expertBegin) * rowCount + r, row);
          sum += weights[i] * dot(row, x, (t * each + i) * xStride, p.K);
        });
        y[t * padRow(p.N) + n] += sum;
      }
    }
  },
  cost(p) {
    const { expertCount, rowCount } = p.shard;
    const part = expertCount / p.routing.experts; // of the experts, and of the choices
    const pairs = p.tokens * p.routing.topK * part;
    const shareK = p.withShare ? p.shareK : 0;
    return {
      flops: 2 * rowCount * (pairs * p.K + p.tokens * shareK), // one multiply-add per weight
      bytesRead:
        rowCount * distinctExperts(p.routing, p.tokens) * part * rowBytes(p, p.K) + // w
        (p.withShare ? rowCount * rowBytes(p, shareK) : 0) + // share_w
        (pairs * p.K + p.tokens * shareK) * 4 + // x and share_x
        p.tokens * (p.routing.experts + rowCount) * 4, // logits, y before the addition
      bytesWritten: p.tokens * rowCount * 4, // y
    };
  },
  tolerance: (p, variant) => roundedTolerance(variant, p.format, p.routing.topK * p.K + p.shareK),
  inputs: (p, random) => routingInputs(p.routing, p.tokens, random),
  shapes: {
    test: [
      { name: 'one expert, one row', params: downCase(1, 1, 1, 8, 8, 1) },
      { name: 'tiny, odd widths', params: downCase(2, 6, 2, 11, 9, 70, { format: 'f32' }) },
      { name: 'every expert chosen, f16', params: downCase(3, 4, 4, 40, 24, 33, { format: 'f16' }) },
      {
        name: 'renormalised, several iterations',
        params: downCase(1, 48, 3, 320, 300, 12, {
          routing: { experts: 48, topK: 3, renormalise: true },
        }),
      },
      {
        name: 'sigmoid scores with a bias, scaled',
        params: downCase(2, 70, 8, 24, 24, 20, {
          routing: { experts: 70, topK: 8, scoring: 'sigmoid', renormalise: true, scale: 3 },
        }),
      },
      { name: 'three of 301 experts', params: downCase(2, 301, 3, 16, 16, 9) },
      {
        name: 'experts 2..4 of 6, without the shared one',
        params: downCase(5, 6, 3, 40, 40, 24, {
          shard: { expertBegin: 2, expertCount: 3, rowBegin: 0, rowCount: 24 },
          withShare: false,
        }),
      },
      {
        name: 'no shared expert',
        params: downCase(2, 5, 2, 44, 0, 21, { withShare: false }),
      },
      {
        name: 'no shared expert, fp8',
        params: downCase(2, 5, 2, 205, 0, 21, { withShare: false, format: 'fp8', group: 128 }),
        once: true,
      },
      {
        name: 'the shared expert in the rows of x',
        params: downCase(3, 5, 2, 20, 28, 13, { shareInX: true }),
      },
      {
        name: 'a narrow shared expert in the rows of x',
        params: downCase(2, 4, 3, 44, 12, 9, { format: 'f32', shareInX: true }),
      },
      {
        name: 'q8_0, the shared expert in the rows of x',
        params: downCase(2, 4, 2, 64, 128, 12, { format: 'q8_0', shareInX: true }),
      },
      {
        name: 'five experts in two buffers',
        params: downCase(4, 6, 2, 40, 32, 20, {
          shard: { expertBegin: 1, expertCount: 5, rowBegin: 0, rowCount: 20 },
          buffers: [3, 2],
        }),
      },
      {
        name: 'three buffers, f32',
        params: downCase(3, 6, 3, 70, 24, 12, { format: 'f32', buffers: [2, 2, 2] }),
      },
      {
        name: 'half of the rows of one expert',
        params: downCase(4, 3, 1, 16, 24, 24, {
          shard: { expertBegin: 0, expertCount: 1, rowBegin: 8, rowCount: 16 },
        }),
      },
      ...[...MAIN_FORMATS, ...LEVEL_FORMATS].map(({ name, format, group, K }) => ({
        name,
        params: downCase(2, 4, 2, K, K, 21, { format, group }),
        once: true,
      })),
      {
        name: 'q8_0, two widths, in two buffers',
        params: downCase(3, 5, 3, 64, 320, 30, { format: 'q8_0', buffers: [3, 2] }),
      },
      {
        name: 'q8_0, 16 rows a workgroup, one over, in two buffers',
        params: downCase(8, 5, 3, 64, 96, 785, { format: 'q8_0', buffers: [3, 2] }),
      },
      {
        name: 'q4_k, two widths, in three buffers',
        params: downCase(3, 5, 3, 512, 256, 30, { format: 'q4_k', buffers: [2, 2, 1] }),
        once: true,
      },
    ],
    bench: [
      { name: 'Step-3, half of the experts, 1 token', params: stepDown(1), set: 'real' },
      { name: 'Step-3, half of the experts, 4 tokens', params: stepDown(4), set: 'real' },
      { name: 'mini, 1 token', params: downCase(1, 48, 3, 640, 640, 896), set: 'small' },
      { name: 'small, 4 tokens', params: downCase(4, 48, 3, 320, 320, 448), set: 'small' },
    ],
  },
});

function downCase(
  tokens: number,
  experts: number,
  topK: number,
  K: number,
  shareK: number,
  N: number,
  rest: Partial<ExpertsDownParams> = {},
): ExpertsDownParams {
  return {
    format: 'bf16',
    tokens,
    routing: { experts, topK, renormalise: false },
    K,
    shareK,
    N,
    shard: { expertBegin: 0, expertCount: experts, rowBegin: 0, rowCount: N },
    withShare: true,
    ...rest,
  };
}

/** The released model's layer in the first of two buffers. */
function stepDown(tokens: number): ExpertsDownParams {
  return downCase(tokens, 48, 3, 5120, 5120, 7168, {
    shard: { expertBegin: 0, expertCount: 24, rowBegin: 0, rowCount: 7168 },
  });
}
