/** Linear layer of large matrices of 16 bits, up to four tokens: workgroups go through the rows side by side. */
import { KernelError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { BASELINE, defineKernel, type Kernel, type Variant } from './kernel.ts';
import {
  dense,
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
import { keepLibs } from './linear_out.ts';
import { linearReference } from './linear_reference.ts';
import { MEMORY_WORDS, mostQuads, SUBGROUP_32_PARTS, SUBGROUP_PARTS, WORKGROUP_PARTS } from './parts.ts';

/** Blocks of 8 columns that an invocation may own, whose x takes eight registers each. */
const MOST_STEPS = 9;

/** Invocations of a workgroup: enough that each owns few blocks. */
const WORKGROUPS = [128, 256] as const;

/** Columns of the longest rows of one token. */
const MOST_COLUMNS = MOST_STEPS * 8 * WORKGROUPS[1];

/** Blocks of an invocation from which those of a workgroup should be twice as many. */
const LONG_STEPS = 7;

/** Processors of a large GPU. */
const PROCESSORS = 132;

/**
 * Invocations that run side by side on each of them: where each owns several blocks, of all tokens, as many as there are registers
 * for the loads of; else twice as many.
 */
const ABREAST = { few: 1024, several: 512 } as const;

/** Most blocks that are few, and least that are many. Found by measurement: matvec is faster with what lies between. */
const FEW_STEPS = 2;
const MANY_STEPS = 7;

/**
 * Blocks of an invocation in a turn, and rows on their way, of several tokens: what there are registers for. Two tokens whose
 * columns are done in one turn of two blocks can have more rows on their way.
 */
const SEVERAL = {
  short: { steps: 2, ahead: 4 },
  two: { steps: 4, ahead: 1 },
  four: { steps: 2, ahead: 1 },
} as const;

interface Layout {
  readonly WG: number;
  readonly TOKENS: number;
  readonly STEPS: number;
  readonly TURNS: number;
  readonly AHEAD: number;
  readonly GROUPS: number;
  readonly QUADS: number;
}

/** How the columns are spread over invocations and turns. */
function columns(p: Call): Pick<Layout, 'WG' | 'STEPS' | 'TURNS' | 'AHEAD'> {
  const blocks = ceilDiv(p.K, 8);
  if (p.tile === 1) {
    const WG = WORKGROUPS.find((size) => blocks <= LONG_STEPS * size) ?? WORKGROUPS[1];
    return { WG, STEPS: ceilDiv(blocks, WG), TURNS: 1, AHEAD: 1 };
  }
  const pair = blocks <= SEVERAL.short.steps * WORKGROUPS[1] ? SEVERAL.short : SEVERAL.two;
  const { steps, ahead } = p.tile === 2 ? pair : SEVERAL.four;
  const TURNS = ceilDiv(blocks, steps * WORKGROUPS[1]);
  const WG = ceilDiv(ceilDiv(blocks, steps * TURNS), 32) * 32;
  return { WG, STEPS: ceilDiv(blocks, WG * TURNS), TURNS, AHEAD: ahead };
}

/**
 * Invocations of a part, as far as memory for sums goes: those of the text's own parts, but that sums through workgroup memory
 * need as much again to meet in.
 */
const [LARGE_PARTS, SMALL_PARTS, MEMORY_PARTS] = [32, 4, 16];

const summed = (variant: Variant, sums: WgslName, members: number): Variant => ({
  ...variant,
  libs: [...variant.libs, sums],
  team: () => members,
});

const VARIANTS: readonly Variant[] = [
  summed(SUBGROUP_32_PARTS, 'lib/sums_together', LARGE_PARTS),
  summed(SUBGROUP_PARTS, 'lib/sums_apart', SMALL_PARTS),
  summed(WORKGROUP_PARTS, 'lib/sums_apart', MEMORY_PARTS),
];

const membersOf = (variant = VARIANTS[0]): number => variant.team(BASELINE);

/**
 * How the rows are spread: as many workgroups as run side by side, or, where sums of parts of `members` would not fit, in as few
 * rounds as may be.
 */
function layout(p: Call, members: number): Layout {
  const cols = columns(p);
  const { WG, STEPS } = cols;
  const few = p.tile === 1 && STEPS <= FEW_STEPS;
  const abreast = PROCESSORS * Math.floor(ABREAST[few ? 'few' : 'several'] / WG);
  const fours = ceilDiv(p.shard.rowCount, 4);
  // Of one token the same for all variants: more fours of rows a workgroup are no faster.
  const least = p.tile === 1 ? SMALL_PARTS : members;
  const most = Math.min(Math.floor(WG / p.tile), mostQuads(WG, MEMORY_WORDS, p.tile, least));
  const rounds = ceilDiv(fours, abreast * most);
  const QUADS = Math.min(most, ceilDiv(fours, abreast * rounds));
  return { ...cols, TOKENS: p.tile, GROUPS: ceilDiv(fours, QUADS), QUADS };
}

/** Columns of short rows, and weights of small matrices: too few for so many invocations. */
const SHORT = 1024;
const SMALL = 2 ** 24;

/** What tells which kernel a call should take. */
type Call = Pick<LinearParams, 'format' | 'tokens' | 'source' | 'K' | 'shard' | 'norm' | 'tile' | 'buffers'>;

/**
 * Whether matvec_rows is faster than matvec. Found by measurement; of four tokens it is not where every workgroup would normalise x
 * turn by turn.
 */
export function fitsRows(p: Call): boolean {
  if (!reads(p) || p.K <= SHORT || p.shard.rowCount * p.K <= SMALL) return false;
  const { STEPS, TURNS } = columns(p);
  if (p.tile > 1) return p.tokens <= p.tile && (p.tile === 2 || p.norm === 'none' || TURNS === 1);
  return STEPS <= FEW_STEPS || STEPS >= MANY_STEPS;
}

/** Whether the text is for such a call. */
function reads(p: Call): boolean {
  return (
    (p.tile === 1 ? p.K <= MOST_COLUMNS : p.tile === 2 || p.tile === 4) &&
    (p.format === 'bf16' || p.format === 'f16') &&
    (p.source.kind === 'all' || p.source.kind === 'picked') &&
    (p.buffers?.length ?? 1) === 1
  );
}

export const matvec_rows: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matvec_rows',
  summary: 'matvec for up to four tokens and large matrices of 16 bits, with x in registers',
  variants: VARIANTS,
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
      `expected bf16 or f16, tile 1, 2 or 4, all or picked rows, of one token at most ${MOST_COLUMNS} columns, got ${got}`,
      { params: p },
    );
  },
  constants: (p, variant) => ({ ...layout(p, membersOf(variant)), ...linearConstants(p) }),
  uniforms: (p) => ({ ...linearUniforms(p), eps: p.eps }),
  bindings: linearBindings,
  workgroups: (p, team) => linearGrid(p, layout(p, team).GROUPS),
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
      {
        name: 'seven blocks each, swiglu',
        params: dense(2 * 5, 7168, 1, { norm: 'rms', out: 'swiglu' }),
        once: true,
      },
      {
        name: 'nine blocks each, residual',
        params: dense(6, 18432, 1, { out: 'add', format: 'f16' }),
        once: true,
      },
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
      { name: 'two tokens, less than a block', params: dense(3, 3, 2, { norm: 'rms', tile: 2 }) },
      {
        name: 'two tokens, four blocks each, swiglu',
        params: dense(2 * 7, 7168, 2, { norm: 'rms', out: 'swiglu', tile: 2 }),
        once: true,
      },
      {
        name: 'one of two tokens, two turns, residual',
        params: dense(9, 8200, 1, { out: 'add', tile: 2, format: 'f16' }),
        once: true,
      },
      { name: 'four tokens, one block', params: dense(5, 8, 4, { tile: 4 }) },
      { name: 'four tokens, two blocks each, norm', params: dense(13, 2048, 4, { norm: 'rms', tile: 4 }) },
      {
        name: 'three of four tokens, two turns, norm',
        params: dense(10, 4104, 3, { norm: 'rms', tile: 4 }),
        once: true,
      },
      { name: 'four tokens, four turns, residual', params: dense(6, 16384, 4, { out: 'add', tile: 4 }) },
      {
        name: 'four tokens, several fours of rows each, norm',
        params: dense(9001, 40, 4, { norm: 'rms', tile: 4 }),
      },
      {
        name: 'four tokens, several fours of rows each, two turns',
        params: dense(4500, 4200, 3, { norm: 'rms', tile: 4 }),
        once: true,
      },
      {
        name: 'four picked rows, and one of the next four',
        params: dense(17, 64, 5, { source: { kind: 'picked', sourceRows: 9 }, norm: 'rms', tile: 4 }),
      },
      { name: 'four tokens, query heads of 16', params: queryHeads(5, 16, 40, 4, { norm: 'rms', tile: 4 }) },
      {
        name: 'query, key and value of four tokens',
        params: fusedQkv(24, 16, 'f32', 70, 4, { norm: 'rms', tile: 4 }),
      },
      { name: 'query, key and value', params: fusedQkv(24, 16, 'f32', 70, 3, { norm: 'rms' }) },
    ],
    // Timed at the layers of plans.
    bench: [],
  },
});
