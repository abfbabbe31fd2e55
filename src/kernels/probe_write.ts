/** Writes a buffer as fast as it can be written: the ceiling for results that memory takes. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface ProbeWriteParams {
  /** Groups of four 32-bit words. */
  readonly vectors: number;
  readonly workgroups: number;
}

/** What the words are made of. */
const SEED = 0x5bd1e995;

export const probe_write: Kernel<ProbeWriteParams> = defineKernel<ProbeWriteParams>({
  name: 'probe_write',
  summary: 'a word of its own into every place of a buffer: the rate of writing memory',
  variants: [PLAIN],
  libs: () => [],
  check(p) {
    if (!(p.vectors >= 1 && p.workgroups >= 1)) {
      throw new KernelError('probe_write', `expected vectors, workgroups >= 1, got ${JSON.stringify(p)}`);
    }
  },
  constants: (p) => ({ VECTORS: p.vectors, GROUPS: p.workgroups }),
  uniforms: () => ({ seed: SEED }),
  bindings: (p) => ({ y: { type: 'u32', dims: [p.vectors, 4], use: 'out' } }),
  workgroups: (p) => [p.workgroups, 1, 1],
  reference(p, io) {
    const y = io.u('y');
    for (let i = 0; i < p.vectors; i++) y.fill((SEED ^ i) >>> 0, i * 4, i * 4 + 4);
  },
  cost: (p) => ({ flops: 0, bytesRead: 0, bytesWritten: p.vectors * 16 }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  shapes: {
    test: [
      { name: 'one vector', params: { vectors: 1, workgroups: 1 } },
      { name: 'one over an iteration', params: { vectors: 257, workgroups: 1 } },
      { name: 'several workgroups, partial iteration', params: { vectors: 9001, workgroups: 3 } },
    ],
    bench: [],
  },
});
