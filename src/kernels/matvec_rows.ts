/** Linear layer of large matrices of 16 bits, one token at a time: workgroups go through the rows side by side. */
import { KernelError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { defineKernel, type Kernel } from './kernel.ts';
import {
  dense,
  keepLibs,
  type LinearParams,
  linearBindings,
  linearCheck,
  linearConstants,
  linearCost,
  linearGrid,
  linearInputs,
  linearLibs,
  linearUniforms,
} from './linear.ts';
import { fusedQkv, queryHeads } from './linear_cases.ts';
import { linearReference } from './linear_reference.ts';
import { MEMORY_WORDS, mostQuads, SUBGROUP_32_PARTS, SUBGROUP_PARTS, WORKGROUP_PARTS } from './parts.ts';

/** Blocks of 8 columns that an invocation may own, whose x takes eight registers each. */
const MOST_STEPS = 9;

/** Invocations of a workgroup: enough that each owns few blocks. */
const WORKGROUPS = [128, 256] as const;

/** Columns of the longest rows. */
const MOST_COLUMNS = MOST_STEPS * 8 * WORKGROUPS[1];

/** Blocks of an invocation from which those of a workgroup should be twice as many. */
const LONG_STEPS = 7;

/**
 * Invocations that run side by side on a large GPU: where each owns several blocks 512 on each of 132 processors, for whose loads
 * there are registers; else twice as many.
 */
const ABREAST = { few: 132 * 1024, several: 132 * 512 } as const;

/** Most blocks that are few, and least that are many. Found by measurement: matvec is faster with what lies between. */
const FEW_STEPS = 2;
const MANY_STEPS = 7;

interface Layout {
  readonly WG: number;
  readonly STEPS: number;
  readonly GROUPS: number;
  readonly QUADS: number;
}

/** How the rows are spread: as many workgroups as run side by side, or, where sums would not fit, in as few rounds as may be. */
function layout(p: LinearParams): Layout {
  const blocks = ceilDiv(p.K, 8);
  const WG = WORKGROUPS.find((size) => blocks <= LONG_STEPS * size) ?? WORKGROUPS[1];
  const STEPS = ceilDiv(blocks, WG);
  const abreast = Math.floor((STEPS > FEW_STEPS ? ABREAST.several : ABREAST.few) / WG);
  const fours = ceilDiv(p.shard.rowCount, 4);
  const most = Math.min(WG, mostQuads(WG, MEMORY_WORDS));
  const rounds = ceilDiv(fours, abreast * most);
  const QUADS = Math.min(most, ceilDiv(fours, abreast * rounds));
  return { WG, STEPS, GROUPS: ceilDiv(fours, QUADS), QUADS };
}

/** Columns of short rows, and weights of small matrices: too few for so many invocations. */
const SHORT = 1024;
const SMALL = 2 ** 24;

/** Whether matvec_rows is faster than matvec for one token. Found by measurement. */
export function fitsRows(p: LinearParams): boolean {
  if (!reads(p) || p.K <= SHORT || p.shard.rowCount * p.K <= SMALL) return false;
  const { STEPS } = layout(p);
  return STEPS <= FEW_STEPS || STEPS >= MANY_STEPS;
}

/** Whether the text is for such a call. */
function reads(p: LinearParams): boolean {
  return (
    p.tile === 1 &&
    (p.format === 'bf16' || p.format === 'f16') &&
    (p.source.kind === 'all' || p.source.kind === 'picked') &&
    (p.buffers?.length ?? 1) === 1 &&
    p.K <= MOST_COLUMNS
  );
}

export const matvec_rows: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matvec_rows',
  summary: 'matvec for one token at a time and large matrices of 16 bits, with x in registers',
  variants: [SUBGROUP_32_PARTS, SUBGROUP_PARTS, WORKGROUP_PARTS],
  libs: (p) => [
    ...linearLibs(p, true, [`lib/weight_${p.format === 'f16' ? 'f16' : 'bf16'}`]),
    ...keepLibs(p),
  ],
  check(p) {
    linearCheck('matvec_rows', p);
    if (reads(p)) return;
    const got = JSON.stringify({ format: p.format, tile: p.tile, source: p.source.kind, K: p.K });
    throw new KernelError(
      'matvec_rows',
      `expected bf16 or f16, tile 1, all or picked rows and at most ${MOST_COLUMNS} columns, got ${got}`,
      { params: p },
    );
  },
  constants: (p) => ({ ...layout(p), ...linearConstants(p) }),
  uniforms: (p) => ({ ...linearUniforms(p), eps: p.eps }),
  bindings: linearBindings,
  workgroups: (p) => linearGrid(p, layout(p).GROUPS),
  reference: linearReference,
  cost: linearCost,
  tolerance: { abs: 2e-5, rel: 2e-5, cosine: 1e-9 },
  inputs: linearInputs,
  shapes: {
    test: [
      { name: 'one row, one block', params: dense(1, 8, 1) },
      { name: 'one row, less than a block, norm', params: dense(1, 3, 1, { norm: 'rms' }) },
      { name: 'rows not a multiple of 4, columns not of 8', params: dense(13, 70, 1, { format: 'f16' }) },
      { name: 'as many blocks as invocations, norm', params: dense(9, 1024, 1, { norm: 'rms' }) },
      { name: 'one block more, residual', params: dense(10, 1032, 2, { out: 'add' }) },
      { name: 'seven blocks each, swiglu', params: dense(2 * 5, 7168, 1, { norm: 'rms', out: 'swiglu' }) },
      { name: 'nine blocks each, residual', params: dense(6, 18432, 1, { out: 'add', format: 'f16' }) },
      { name: 'several fours of rows each, norm', params: dense(9001, 40, 1, { norm: 'rms' }) },
      { name: 'several fours of rows each, residual', params: dense(8454, 32, 2, { out: 'add' }) },
      { name: 'x rows wider than K', params: dense(10, 24, 3, { xStride: 96 }) },
      {
        name: 'middle shard of rows',
        params: dense(48, 32, 2, { shard: { expertBegin: 0, expertCount: 1, rowBegin: 16, rowCount: 19 } }),
      },
      {
        name: 'picked rows',
        params: dense(17, 64, 3, { source: { kind: 'picked', sourceRows: 9 }, norm: 'rms' }),
      },
      { name: 'query heads of 16', params: queryHeads(5, 16, 40, 2, { norm: 'rms' }) },
      { name: 'query, key and value', params: fusedQkv(24, 16, 'f32', 70, 3, { norm: 'rms' }) },
    ],
    // Timed at the layers of plans.
    bench: [],
  },
});
