/** Linear layer for many tokens, of 16-bit weights, on adapters with matrix units (subgroup matrices). */
import { KernelError } from '../errors.ts';
import { isPlain, padRow } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import type { Constants } from '../wgsl/specialise.ts';
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

/** Shape of a workgroup: rows of w, and the constants of the text. */
interface MatrixLayout {
  readonly rows: number;
  readonly constants: Constants;
}

/** Tokens that a tile may have. */
const MATRIX_TILES: readonly number[] = [16, 64, 128];

const WIDE: MatrixLayout = { rows: 64, constants: { TM: 2, TN: 2, SG_M: 2, SG_N: 2, SG_K: 1, DEPTH: 64 } };
const WIDEST: MatrixLayout = { rows: 128, constants: { TM: 4, TN: 2, SG_M: 2, SG_N: 4, SG_K: 1, DEPTH: 64 } };
const MOST_ROWS: MatrixLayout = {
  rows: 32,
  constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 2, SG_K: 1, DEPTH: 64 },
};
const MANY_ROWS: MatrixLayout = {
  rows: 32,
  constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 2, SG_K: 1, DEPTH: 128 },
};
const SOME_ROWS: MatrixLayout = {
  rows: 32,
  constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 2, SG_K: 2, DEPTH: 128 },
};
const FEW_ROWS: MatrixLayout = {
  rows: 16,
  constants: { TM: 1, TN: 1, SG_M: 1, SG_N: 1, SG_K: 4, DEPTH: 256 },
};

/** How a workgroup is laid out; chosen by measurement. With few rows, subgroups share the columns to hide latency. */
function matrixLayout(p: LinearParams): MatrixLayout {
  if (p.tile > 16) return p.tile === 64 ? WIDE : WIDEST;
  if (p.source.kind === 'grouped') return MANY_ROWS;
  if (p.shard.rowCount >= 8192) return p.shard.rowCount >= 12288 ? MOST_ROWS : MANY_ROWS;
  return p.shard.rowCount >= 4096 ? SOME_ROWS : FEW_ROWS;
}

/** What both kernels on matrix units ask of a call. */
export function matrixCheck(name: string, p: LinearParams): void {
  linearCheck(name, p);
  if (p.norm !== 'none') throw new KernelError(name, `norm: expected none (half_rows has it), got ${p.norm}`);
  if (!MATRIX_TILES.includes(p.tile))
    throw new KernelError(name, `tile: expected one of ${MATRIX_TILES}, got ${p.tile}`);
}

/** Library files of both; each has its own way of staging weights. */
export function matrixLibs(p: LinearParams): WgslName[] {
  return [...linearLibs(p, false).filter((lib) => lib !== 'lib/x_blocks'), 'lib/matrix_store'];
}

/** Of exact factors. Matrix units cut partial sums off instead of rounding them. */
export const MATRIX_TOLERANCE: Tolerance = { abs: 2e-4, rel: 1e-4, cosine: 1e-8 };

export const matmul_matrix: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matmul_matrix',
  summary:
    'y = out(x Wᵀ) on matrix units, x as f16; SwiGLU and residual folded in; dense, picked rows or experts',
  variants: [MATRIX_UNITS],
  libs: matrixLibs,
  check(p) {
    matrixCheck('matmul_matrix', p);
    if (p.format === 'f32' || !isPlain(p.format))
      throw new KernelError('matmul_matrix', `format: expected 16 bits a weight, got ${p.format}`);
  },
  constants: (p) => ({ ...linearConstants(p), ...matrixLayout(p).constants, SIZE: 32 }),
  uniforms: linearUniforms,
  bindings(p) {
    const bindings = linearBindings(p);
    // Padding up to a whole block is read, and meets weights of zero; half_rows wrote zeros there.
    return { ...bindings, x: { ...bindings.x, type: 'f16', cols: padRow(p.K) } };
  },
  workgroups: (p) => linearWorkgroups(p, matrixLayout(p).rows),
  reference: linearReference,
  cost(p) {
    const cost = linearCost(p);
    return { ...cost, bytesRead: cost.bytesRead - xRows(p) * p.K * 2 }; // x has two bytes an element
  },
  tolerance: MATRIX_TOLERANCE,
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
    ],
    bench: linearBench(16, 16, 'none').concat(linearBench(64, 64, 'none'), linearBench(256, 128, 'none')),
  },
});
