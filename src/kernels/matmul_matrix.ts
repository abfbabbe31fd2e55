/** Linear layer for 16 and more tokens on adapters with matrix units (subgroup matrices). */
import { KernelError } from '../errors.ts';
import { isPlain, padRow } from '../tensor.ts';
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
  linearReference,
  linearUniforms,
  linearWorkgroups,
  xRows,
} from './linear.ts';
import { linearBench } from './linear_bench.ts';
import { fusedQkv, queryHeads } from './linear_cases.ts';
import { stageLibs } from './weights.ts';

/** Shape of a workgroup: rows of w, and the constants of the text. */
interface Layout {
  readonly rows: number;
  readonly constants: Constants;
}

/** Tokens that a tile may have. */
export const MATRIX_TILES: readonly number[] = [16, 64, 128];

const WIDE: Layout = { rows: 64, constants: { TM: 2, TN: 2, SG_M: 2, SG_N: 2, SG_K: 1, DEPTH: 64 } };
const WIDEST: Layout = { rows: 128, constants: { TM: 4, TN: 2, SG_M: 2, SG_N: 4, SG_K: 1, DEPTH: 64 } };
const MOST_ROWS: Layout = { rows: 32, constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 2, SG_K: 1, DEPTH: 64 } };
const MANY_ROWS: Layout = { rows: 32, constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 2, SG_K: 1, DEPTH: 128 } };
const SOME_ROWS: Layout = { rows: 32, constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 2, SG_K: 2, DEPTH: 128 } };
const FEW_ROWS: Layout = { rows: 16, constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 1, SG_K: 4, DEPTH: 256 } };

/** How a workgroup is laid out; chosen by measurement. With few rows, subgroups share the columns to hide latency. */
function layout(p: LinearParams): Layout {
  if (p.tile > 16) return p.tile === 64 ? WIDE : WIDEST;
  if (p.source.kind === 'grouped') return MANY_ROWS;
  if (p.shard.rowCount >= 8192) return p.shard.rowCount >= 12288 ? MOST_ROWS : MANY_ROWS;
  return p.shard.rowCount >= 4096 ? SOME_ROWS : FEW_ROWS;
}

/** Of exact factors. Matrix units cut partial sums off instead of rounding them. */
const EXACT: Tolerance = { abs: 2e-4, rel: 1e-4, cosine: 1e-8 };

/** Columns up to which rows are tested; longer ones are timed, with weights that keep the size of a sum. */
const TESTED_COLUMNS = 1024;

/**
 * Weights of 16 bits are exact as binary16 (those of bf16 from 2^-14 to 65504; smaller ones lose what lies below 2^-24).
 * Compressed ones are decoded in f32 and rounded once, by at most 2^-11 of themselves, as activations are: errors of K
 * products within ±1 add up like a random walk; q4_1 and q5_1 have a shift of their own, which doubles their range and puts
 * most weights at its upper end. SwiGLU multiplies two such sums.
 */
function tolerance(p: LinearParams): Tolerance {
  if (isPlain(p.format)) return EXACT;
  const range = p.format === 'q4_1' || p.format === 'q5_1' ? 4 : 1;
  const walk = 2 ** -12 * range * Math.sqrt(Math.min(p.K, TESTED_COLUMNS));
  return {
    abs: EXACT.abs + (p.out === 'swiglu' ? 4 : 1) * walk,
    rel: EXACT.rel + 2 ** -11,
    cosine: EXACT.cosine + 2 ** -23,
  };
}

/** Compressed formats whose large layers are timed. */
const TIMED = ['q8_0', 'q4_k', 'fp8, whole groups', 'int4, groups of 32'];

export const matmul_matrix: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matmul_matrix',
  summary:
    'y = out(x Wᵀ) on matrix units, x and W as f16; SwiGLU and residual folded in; dense, picked rows or experts',
  variants: [MATRIX_UNITS],
  libs: (p) => linearLibs(p, false, stageLibs(p)).filter((lib) => lib !== 'lib/x_blocks'),
  check(p) {
    linearCheck('matmul_matrix', p);
    if (p.norm !== 'none')
      throw new KernelError('matmul_matrix', `norm: expected none (half_rows has it), got ${p.norm}`);
    if (p.format === 'f32')
      throw new KernelError('matmul_matrix', 'format: expected at most 16 bits a weight, got f32');
    if (!MATRIX_TILES.includes(p.tile))
      throw new KernelError('matmul_matrix', `tile: expected one of ${MATRIX_TILES}, got ${p.tile}`);
  },
  constants: (p) => ({ ...linearConstants(p), ...layout(p).constants, SIZE: 32 }),
  uniforms: linearUniforms,
  bindings(p) {
    const bindings = linearBindings(p);
    // Padding up to a whole block is read, and meets weights of zero; half_rows wrote zeros there.
    return { ...bindings, x: { ...bindings.x, type: 'f16', cols: padRow(p.K) } };
  },
  workgroups: (p) => linearWorkgroups(p, layout(p).rows),
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
      { name: 'many rows', params: dense(12290, 40, 16, { tile: 16 }) },
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
      { name: 'widest: one over', params: dense(140, 72, 130, { tile: 128 }) },
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
    bench: (
      [
        [16, 16],
        [64, 64],
        [256, 128],
      ] as const
    ).flatMap(([tokens, tile]) => [
      ...linearBench(tokens, tile, 'none'),
      ...formatBench(tokens, tile, 'none', TIMED),
    ]),
  },
});
