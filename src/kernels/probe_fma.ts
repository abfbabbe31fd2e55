/** Multiplies and adds as fast as the adapter can: the ceiling for kernels that are bound by f32 arithmetic. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface ProbeFmaParams {
  /** Multiply-adds of each of an invocation's 16 chains. */
  readonly rounds: number;
  readonly workgroups: number;
}

/** Invocations of a workgroup and chains of an invocation; fixed by the text. */
const WORKGROUP = 256;
const CHAINS = 16;

/** A contraction, so that values stay bounded and rounding errors fade; exact in f32. */
const FACTOR = 0.75;
const OFFSET = 0.25;

export const probe_fma: Kernel<ProbeFmaParams> = defineKernel<ProbeFmaParams>({
  name: 'probe_fma',
  summary: 'independent chains of multiply-adds: the rate of f32 arithmetic',
  variants: [PLAIN],
  libs: () => [],
  check(p) {
    if (!(p.rounds >= 1 && p.workgroups >= 1)) {
      throw new KernelError('probe_fma', `expected rounds, workgroups >= 1, got ${JSON.stringify(p)}`);
    }
  },
  constants: (p) => ({ ROUNDS: p.rounds }),
  uniforms: () => ({ factor: FACTOR, offset: OFFSET }),
  bindings: (p) => ({ results: { type: 'f32', dims: [p.workgroups * WORKGROUP], use: 'out' } }),
  workgroups: (p) => [p.workgroups, 1, 1],
  reference(p, io) {
    const results = io.f('results');
    for (let i = 0; i < results.length; i++) {
      results[i] = 0;
      for (let chain = 0; chain < CHAINS; chain++) {
        let value = (i % 256) / 256 + chain;
        for (let round = 0; round < p.rounds; round++) value = value * FACTOR + OFFSET;
        results[i] += value;
      }
    }
  },
  cost: (p) => ({
    flops: p.workgroups * WORKGROUP * CHAINS * p.rounds * 2, // a product and an addition
    bytesRead: 0,
    bytesWritten: p.workgroups * WORKGROUP * 4,
  }),
  tolerance: { abs: 1e-5, rel: 1e-6, cosine: 1e-12 },
  shapes: {
    test: [
      { name: 'one round', params: { rounds: 1, workgroups: 1 } },
      { name: 'several rounds and workgroups', params: { rounds: 7, workgroups: 3 } },
    ],
    bench: [],
  },
});
