/** Linear layer for many tokens, of 16-bit or compressed weights, on adapters with matrix units (subgroup matrices). */
import { KernelError } from '../errors.ts';
import { ceilDiv, isPlain, padRow } from '../tensor.ts';
import type { Constants } from '../wgsl/specialise.ts';
import { formatBench, matrixShapes } from './format_cases.ts';
import { defineKernel, type Kernel, MATRIX_UNITS, type Tolerance } from './kernel.ts';
import {
  dense,
  grouped,
  type LinearParams,
  linearBindings,
  linearCheck,
  linearConstants,
  linearCost,
  linearInputs,
  linearLibs,
  linearUniforms,
  linearWorkgroups,
  xRows,
} from './linear.ts';
import { linearBench } from './linear_bench.ts';
import { fusedQkv, queryHeads } from './linear_cases.ts';
import { linearReference } from './linear_reference.ts';

/** Shape of a workgroup: rows of w, and the constants of the text. */
interface MatrixLayout {
  readonly rows: number;
  readonly constants: Constants;
}

/** Tokens that a tile may have. */
const MATRIX_TILES: readonly number[] = [16, 64, 128];

/** Of `tile` tokens: what a workgroup is made of, chosen by measurement. Where rows are few, subgroups share the columns. */
const layout = (
  TM: number,
  TN: number,
  SG_M: number,
  SG_N: number,
  SG_K: number,
  DEPTH: number,
  AHEAD = 2,
) => ({
  rows: 16 * TN * SG_N,
  constants: { TM, TN, SG_M, SG_N, SG_K, DEPTH, AHEAD },
});

/** Layouts by the number of rows: many, some, few. */
type Layouts = readonly [many: MatrixLayout, some: MatrixLayout, few: MatrixLayout];

/** Of tiles of 128 tokens. Sums of 4 x 4 products make most of what is staged, but leave a workgroup few subgroups. */
const WIDEST = layout(4, 4, 2, 2, 1, 32, 1);
const WIDEST_FEW = layout(4, 2, 2, 4, 1, 64);

/**
 * Processors of the GPU that layouts are chosen for (an H200). Of {@link WIDEST}, two workgroups run on each at a time, of
 * {@link WIDEST_FEW} one.
 */
const PROCESSORS = 132;

/**
 * How long a round of workgroups of {@link WIDEST_FEW}, which are half as many, takes as a part of one of {@link WIDEST}: of
 * compressed weights, and by what becomes of results.
 */
const FEW_ROUND = { compressed: 0.76, swiglu: 0.62, add: 0.49, others: 0.53 } as const;

/** Whether `tiles` of 128 x 128 take less time in rounds of half as many, of which the last may be nearly empty. */
function fewRounds({ format, out }: LinearParams, tiles: number): boolean {
  const kind = !isPlain(format) ? 'compressed' : out === 'swiglu' || out === 'add' ? out : 'others';
  return FEW_ROUND[kind] * ceilDiv(tiles, PROCESSORS) < ceilDiv(tiles, 2 * PROCESSORS);
}

/** Of tiles of 16 and of 64 tokens. */
interface Narrow {
  readonly of16: Layouts;
  readonly of64: Layouts;
}
const BLOCKS: Narrow = {
  of16: [layout(1, 1, 1, 2, 2, 128), layout(1, 1, 1, 1, 4, 128), layout(1, 1, 1, 1, 8, 256)],
  of64: [layout(2, 2, 2, 1, 2, 64), layout(2, 2, 2, 2, 2, 128), layout(2, 1, 2, 1, 4, 128)],
};
/** Of compressed weights, an invocation has at least a unit of 32 columns to fetch. */
const UNITS: Narrow = {
  of16: [layout(1, 1, 1, 2, 2, 128), layout(1, 1, 1, 2, 2, 128), layout(1, 1, 1, 1, 4, 256)],
  of64: [layout(2, 4, 2, 1, 2, 64, 1), layout(2, 2, 2, 2, 2, 128), layout(2, 2, 2, 2, 2, 128)],
};

/** How a workgroup is laid out. Experts have many workgroups together, however few rows each has. */
function matrixLayout(p: LinearParams): MatrixLayout {
  const { format, tokens, tile, source, shard } = p;
  if (tile > 64) {
    if (source.kind === 'grouped') return WIDEST;
    return fewRounds(p, ceilDiv(tokens, 128) * ceilDiv(shard.rowCount, 128)) ? WIDEST_FEW : WIDEST;
  }
  const { of16, of64 } = isPlain(format) ? BLOCKS : UNITS;
  const [many, some, few] = tile > 16 ? of64 : of16;
  if (source.kind === 'grouped' || shard.rowCount >= 20_000) return many;
  return shard.rowCount >= 4096 ? some : few;
}

/**
 * Of exact factors. Matrix units cut partial sums off instead of rounding them.
 *
 * Compressed weights are decoded in f32 and rounded once, by at most 2^-11 of themselves, as activations are: errors of K
 * products within ±1 add up like a random walk; q4_1 and q5_1 have a shift of their own, which doubles their range and puts
 * most weights at its upper end. SwiGLU multiplies two such sums.
 */
function tolerance(p: LinearParams): Tolerance {
  if (isPlain(p.format)) return { abs: 2e-4, rel: 1e-4, cosine: 1e-8 };
  const range = p.format === 'q4_1' || p.format === 'q5_1' ? 4 : 1;
  const walk = 2 ** -12 * range * Math.sqrt(Math.min(p.K, TESTED_COLUMNS));
  return {
    abs: 2e-4 + (p.out === 'swiglu' ? 4 : 1) * walk,
    rel: 1e-4 + 2 ** -11,
    cosine: 1e-8 + 2 ** -23,
  };
}

/** Columns up to which rows are tested; longer ones are timed, with weights that keep the size of a sum. */
const TESTED_COLUMNS = 1024;

/** Tokens and tiles that are timed. */
const TIMED = [
  [16, 16],
  [64, 64],
  [256, 128],
] as const;

/** Compressed formats whose large layers are timed. */
const TIMED_FORMATS = ['q8_0', 'q4_k', 'fp8, whole groups', 'int4, groups of 32'];

export const matmul_matrix: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matmul_matrix',
  summary:
    'y = out(x Wᵀ) on matrix units, x as f16; SwiGLU and residual folded in; dense, picked rows or experts',
  variants: [MATRIX_UNITS],
  libs: (p) => [
    ...linearLibs(p, false).filter((lib) => lib !== 'lib/x_blocks'),
    isPlain(p.format) ? 'lib/stage_blocks' : 'lib/stage_units',
    'lib/matrix_products',
  ],
  check(p) {
    linearCheck('matmul_matrix', p);
    const fail = (what: string): never => {
      throw new KernelError('matmul_matrix', what);
    };
    if (p.format === 'f32') fail('format: expected 16 bits a weight or compressed ones, got f32');
    if (p.norm !== 'none') fail(`norm: expected none (half_rows has it), got ${p.norm}`);
    if (!MATRIX_TILES.includes(p.tile)) fail(`tile: expected one of ${MATRIX_TILES}, got ${p.tile}`);
  },
  constants: (p) => ({ ...linearConstants(p), ...matrixLayout(p).constants, SIZE: 32 }),
  uniforms: linearUniforms,
  bindings(p) {
    const bindings = linearBindings(p);
    // Padding up to a whole block is read, and meets weights of zero; half_rows wrote zeros there.
    return { ...bindings, x: { ...bindings.x, type: 'f16', cols: padRow(p.K) } };
  },
  workgroups(p) {
    const [rows, tiles] = linearWorkgroups(p, matrixLayout(p).rows);
    return [tiles, rows, 1];
  },
  reference: linearReference,
  cost(p) {
    const cost = linearCost(p);
    return { ...cost, bytesRead: cost.bytesRead - xRows(p) * p.K * 2 }; // x has two bytes an element
  },
  tolerance,
  inputs: linearInputs,
  shapes: {
    test: [
      { name: 'one token, one row', params: dense(1, 1, 1, { tile: 16 }) },
      { name: 'exactly one tile', params: dense(64, 128, 16, { tile: 16 }) },
      { name: 'one over a tile each way', params: dense(65, 129, 17, { tile: 16 }) },
      { name: 'subgroups that share the columns', params: dense(4100, 300, 5, { tile: 16 }) },
      { name: 'many rows', params: dense(20_010, 40, 16, { tile: 16 }) },
      {
        name: 'two chunks and a bit of columns, f16',
        params: dense(70, 300, 20, { tile: 16, format: 'f16' }),
      },
      { name: 'wide: exactly one tile', params: dense(128, 64, 64, { tile: 64 }) },
      { name: 'wide: one over each way', params: dense(129, 70, 65, { tile: 64 }) },
      {
        name: 'widest: one under a tile each way',
        params: dense(127, 200, 127, { tile: 128, format: 'f16' }),
      },
      { name: 'wide: some rows', params: dense(4100, 136, 20, { tile: 64 }) },
      { name: 'wide: many rows', params: dense(20_010, 72, 40, { tile: 64 }) },
      { name: 'widest: one over', params: dense(140, 72, 130, { tile: 128 }) },
      { name: 'widest: many tiles', params: dense(10_250, 40, 130, { tile: 128 }) },
      { name: 'widest: experts', params: grouped(3, 140, 72, 300, 1, 128) },
      { name: 'residual', params: dense(50, 50, 30, { tile: 16, out: 'add' }) },
      { name: 'swiglu', params: dense(2 * 45, 64, 66, { tile: 64, out: 'swiglu' }) },
      {
        name: 'wide x, picked rows',
        params: dense(20, 24, 9, { tile: 16, xStride: 64, source: { kind: 'picked', sourceRows: 30 } }),
      },
      { name: 'query heads of 16', params: queryHeads(3, 16, 24, 20, { tile: 16 }) },
      { name: 'query, key and value', params: fusedQkv(40, 16, 'f32', 24, 20, { tile: 16 }) },
      { name: 'experts, tokens in', params: grouped(5, 2 * 20, 48, 200, 2, 16, { out: 'swiglu' }) },
      { name: 'experts, pairs in', params: grouped(5, 70, 40, 150, 1, 64) },
      {
        name: 'experts 1..2 of 4 in this shard',
        params: grouped(4, 24, 40, 130, 1, 16, {
          shard: { expertBegin: 1, expertCount: 2, rowBegin: 0, rowCount: 24 },
        }),
      },
      ...matrixShapes(),
    ],
    bench: TIMED.flatMap(([tokens, tile]) => [
      ...linearBench(tokens, tile, 'none'),
      ...formatBench(tokens, tile, 'none', TIMED_FORMATS),
    ]),
  },
});
