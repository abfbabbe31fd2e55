/** Multiplies matrices of binary16 as fast as the adapter can: the ceiling for kernels on matrix units. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, MATRIX_UNITS } from './kernel.ts';

export interface ProbeMatrixParams {
  /** Products of each of a subgroup's eight sums. */
  readonly rounds: number;
  readonly workgroups: number;
}

/** Subgroups of a workgroup, sums of a subgroup, and the side of a matrix; fixed by the text. */
const SUBGROUPS = 8;
const SUMS = 8;
const SIDE = 16;

export const probe_matrix: Kernel<ProbeMatrixParams> = defineKernel<ProbeMatrixParams>({
  name: 'probe_matrix',
  summary: 'independent products of f16 matrices with f32 sums: the rate of matrix units',
  variants: [MATRIX_UNITS],
  libs: () => [],
  check(p) {
    if (!(p.rounds >= 1 && p.workgroups >= 1)) {
      throw new KernelError('probe_matrix', `expected rounds, workgroups >= 1, got ${JSON.stringify(p)}`);
    }
  },
  constants: (p) => ({ ROUNDS: p.rounds }),
  uniforms: () => ({}),
  bindings: (p) => ({
    a: { type: 'f16', dims: [SIDE, SIDE], use: 'in' },
    b: { type: 'f16', dims: [SIDE, SIDE], use: 'in' },
    results: { type: 'f32', dims: [p.workgroups * SUBGROUPS, SIDE, SIDE], use: 'out' },
  }),
  workgroups: (p) => [p.workgroups, 1, 1],
  reference(p, io) {
    const a = io.f('a');
    const b = io.f('b');
    const results = io.f('results');
    for (let i = 0; i < results.length; i++) {
      const row = Math.floor(i / SIDE) % SIDE;
      let sum = 0;
      for (let k = 0; k < SIDE; k++) sum += a[row * SIDE + k] * b[k * SIDE + (i % SIDE)];
      results[i] = sum * p.rounds;
    }
  },
  cost: (p) => ({
    flops: p.workgroups * SUBGROUPS * SUMS * p.rounds * 2 * SIDE ** 3, // a product and an addition
    bytesRead: 2 * SIDE * SIDE * 2,
    bytesWritten: p.workgroups * SUBGROUPS * SUMS * SIDE * SIDE * 4,
  }),
  tolerance: { abs: 1e-4, rel: 1e-4, cosine: 1e-8 },
  shapes: {
    test: [
      { name: 'one round', params: { rounds: 1, workgroups: 1 } },
      { name: 'several rounds and workgroups', params: { rounds: 7, workgroups: 3 } },
    ],
    bench: [],
  },
});
