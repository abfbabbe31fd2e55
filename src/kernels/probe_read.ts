/** Reads a buffer as fast as it can be read: the ceiling for kernels that are bound by memory. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface ProbeReadParams {
  /** Groups of four 32-bit words. */
  readonly vectors: number;
  readonly workgroups: number;
  /** Times that all of them are read; 1 when absent. */
  readonly rounds?: number;
}

/** Workgroups that a round is moved on by: a prime, so that rounds meet other workgroups. */
const SHIFT_WORKGROUPS = 37;

/** Invocations of a workgroup; fixed by the text. */
const WORKGROUP = 256;

export const probe_read: Kernel<ProbeReadParams> = defineKernel<ProbeReadParams>({
  name: 'probe_read',
  summary: 'exclusive or of all words that each invocation reads: the rate of reading memory',
  variants: [PLAIN],
  libs: () => [],
  check(p) {
    if (!(p.vectors >= 1 && p.workgroups >= 1)) {
      throw new KernelError('probe_read', `expected vectors, workgroups >= 1, got ${JSON.stringify(p)}`);
    }
  },
  constants: (p) => ({
    VECTORS: p.vectors,
    GROUPS: p.workgroups,
    ROUNDS: p.rounds ?? 1,
    SHIFT: SHIFT_WORKGROUPS * WORKGROUP,
  }),
  uniforms: () => ({}),
  bindings: (p) => ({
    x: { type: 'u32', dims: [p.vectors, 4], use: 'in' },
    sums: { type: 'u32', dims: [p.workgroups * WORKGROUP], use: 'out' },
  }),
  workgroups: (p) => [p.workgroups, 1, 1],
  reference(p, io) {
    const x = io.u('x');
    const sums = io.u('sums');
    sums.fill(0);
    for (let round = 0; round < (p.rounds ?? 1); round++) {
      // The invocation that begins at vector `i` of this round.
      const shift = (round * SHIFT_WORKGROUPS * WORKGROUP) % sums.length;
      for (let i = 0; i < p.vectors; i++) {
        const reader = ((i % sums.length) + sums.length - shift) % sums.length;
        for (let word = i * 4; word < i * 4 + 4; word++) sums[reader] ^= x[word];
      }
    }
  },
  cost: (p) => ({
    flops: 0,
    bytesRead: p.vectors * 16 * (p.rounds ?? 1),
    bytesWritten: p.workgroups * WORKGROUP * 4,
  }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  inputs: (p, random) => ({
    x: Uint32Array.from({ length: p.vectors * 4 }, () => Math.floor(random() * 2 ** 32)),
  }),
  shapes: {
    test: [
      { name: 'one vector', params: { vectors: 1, workgroups: 1 } },
      { name: 'one over an unrolled iteration', params: { vectors: 1025, workgroups: 1 } },
      { name: 'several workgroups, partial iteration', params: { vectors: 9001, workgroups: 3 } },
      { name: 'three rounds', params: { vectors: 5000, workgroups: 5, rounds: 3 } },
    ],
    bench: [],
  },
});
