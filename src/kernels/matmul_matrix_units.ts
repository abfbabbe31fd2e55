/** Linear layer for many tokens, of compressed weights, on adapters with matrix units. */
import { KernelError } from '../errors.ts';
import { isPlain } from '../tensor.ts';
import { formatBench, matrixShapes } from './format_cases.ts';
import { defineKernel, type Kernel, type Tolerance } from './kernel.ts';
import type { LinearParams } from './linear.ts';
import { MATRIX_TOLERANCE, matmul_matrix, matrixCheck, matrixLibs } from './matmul_matrix.ts';

/** Columns up to which rows are tested; longer ones are timed, with weights that keep the size of a sum. */
const TESTED_COLUMNS = 1024;

/**
 * Weights are decoded in f32 and rounded once, by at most 2^-11 of themselves, as activations are: errors of K products
 * within ±1 add up like a random walk; q4_1 and q5_1 have a shift of their own, which doubles their range and puts most
 * weights at its upper end. SwiGLU multiplies two such sums.
 */
function tolerance(p: LinearParams): Tolerance {
  const range = p.format === 'q4_1' || p.format === 'q5_1' ? 4 : 1;
  const walk = 2 ** -12 * range * Math.sqrt(Math.min(p.K, TESTED_COLUMNS));
  return {
    abs: MATRIX_TOLERANCE.abs + (p.out === 'swiglu' ? 4 : 1) * walk,
    rel: MATRIX_TOLERANCE.rel + 2 ** -11,
    cosine: MATRIX_TOLERANCE.cosine + 2 ** -23,
  };
}

/** Compressed formats whose large layers are timed. */
const TIMED = ['q8_0', 'q4_k', 'fp8, whole groups', 'int4, groups of 32'];

export const matmul_matrix_units: Kernel<LinearParams> = defineKernel<LinearParams>({
  ...matmul_matrix,
  name: 'matmul_matrix_units',
  summary:
    'matmul_matrix for compressed weights, decoded to f16 a unit of 32 columns at a time when they are staged',
  libs: (p) => [...matrixLibs(p), 'lib/stage_units'],
  check(p) {
    matrixCheck('matmul_matrix_units', p);
    if (isPlain(p.format))
      throw new KernelError('matmul_matrix_units', `format: expected compressed weights, got ${p.format}`);
  },
  tolerance,
  shapes: {
    test: matrixShapes(),
    bench: (
      [
        [16, 16],
        [64, 64],
        [256, 128],
      ] as const
    ).flatMap(([tokens, tile]) => formatBench(tokens, tile, 'none', TIMED)),
  },
});
