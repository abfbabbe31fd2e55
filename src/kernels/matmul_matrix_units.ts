/** Linear layer for many tokens, of compressed weights, on adapters with matrix units. */
import { KernelError } from '../errors.ts';
import { isPlain, padRow } from '../tensor.ts';
import { formatBench, matrixShapes } from './format_cases.ts';
import { defineKernel, type Kernel, MATRIX_UNITS, type Tolerance } from './kernel.ts';
import {
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
import { MATRIX_TILES, matrixLayout } from './matmul_matrix.ts';

/** Of exact factors. Matrix units cut partial sums off instead of rounding them. */
const EXACT: Tolerance = { abs: 2e-4, rel: 1e-4, cosine: 1e-8 };

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
    abs: EXACT.abs + (p.out === 'swiglu' ? 4 : 1) * walk,
    rel: EXACT.rel + 2 ** -11,
    cosine: EXACT.cosine + 2 ** -23,
  };
}

/** Compressed formats whose large layers are timed. */
const TIMED = ['q8_0', 'q4_k', 'fp8, whole groups', 'int4, groups of 32'];

export const matmul_matrix_units: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matmul_matrix_units',
  summary:
    'matmul_matrix for compressed weights, decoded to f16 a unit of 32 columns at a time when they are staged',
  variants: [MATRIX_UNITS],
  libs: (p) => [
    ...linearLibs(p, false).filter((lib) => lib !== 'lib/x_blocks'),
    'lib/stage_units',
    'lib/matrix_store',
  ],
  check(p) {
    linearCheck('matmul_matrix_units', p);
    if (p.norm !== 'none')
      throw new KernelError('matmul_matrix_units', `norm: expected none (half_rows has it), got ${p.norm}`);
    if (isPlain(p.format))
      throw new KernelError('matmul_matrix_units', `format: expected compressed weights, got ${p.format}`);
    if (!MATRIX_TILES.includes(p.tile))
      throw new KernelError('matmul_matrix_units', `tile: expected one of ${MATRIX_TILES}, got ${p.tile}`);
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
  tolerance,
  inputs: linearInputs,
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
