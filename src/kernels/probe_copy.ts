/** Copies a buffer: what stands for the kernel before in probes, whose inputs would otherwise lie in near caches. */
import { KernelError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface ProbeCopyParams {
  /** Groups of four 32-bit words. */
  readonly vectors: number;
}

const WG = 64;

/** Most workgroups; each goes on where there are more vectors. */
const MAX_WORKGROUPS = 4096;

export const probe_copy: Kernel<ProbeCopyParams> = defineKernel<ProbeCopyParams>({
  name: 'probe_copy',
  summary: 'a copy of a buffer, as a kernel before would leave it',
  variants: [PLAIN],
  libs: () => [],
  check(p) {
    if (!(p.vectors >= 1)) {
      throw new KernelError('probe_copy', `vectors: expected at least 1, got ${p.vectors}`);
    }
  },
  constants: () => ({}),
  uniforms: (p) => ({ vectors: p.vectors }),
  bindings: (p) => ({
    x: { type: 'u32', dims: [p.vectors, 4], use: 'in' },
    y: { type: 'u32', dims: [p.vectors, 4], use: 'out' },
  }),
  workgroups: (p) => [Math.min(MAX_WORKGROUPS, ceilDiv(p.vectors, WG)), 1, 1],
  reference: (_p, io) => io.u('y').set(io.u('x')),
  cost: (p) => ({ flops: 0, bytesRead: p.vectors * 16, bytesWritten: p.vectors * 16 }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  shapes: {
    test: [
      { name: 'one vector', params: { vectors: 1 } },
      { name: 'one over a workgroup', params: { vectors: 65 } },
      { name: 'several rounds, the last partial', params: { vectors: 64 * MAX_WORKGROUPS + 70 } },
    ],
    bench: [],
  },
});
