/** Multiplies and adds binary16 as fast as the adapter can: what f16 arithmetic would bring. */
import { f16ToNumber, numberToF16 } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { type ProbeFmaParams, probe_fma } from './probe_fma.ts';

/** Invocations of a workgroup and chains of an invocation; fixed by the text. */
const WORKGROUP = 256;
const CHAINS = 32;

/** A contraction, so that values stay bounded and rounding errors fade; exact in binary16. */
const FACTOR = 0.75;
const OFFSET = 0.25;

const half = (value: number): number => f16ToNumber(numberToF16(value));

export const probe_fma_f16: Kernel<ProbeFmaParams> = defineKernel<ProbeFmaParams>({
  ...probe_fma,
  name: 'probe_fma_f16',
  summary: 'independent chains of multiply-adds in binary16: the rate of f16 arithmetic',
  variants: [{ ...PLAIN, name: 'f16', enables: ['f16'], available: (caps) => caps.shaderF16 === true }],
  reference(p, io) {
    const results = io.f('results');
    for (let i = 0; i < results.length; i++) {
      results[i] = 0;
      for (let chain = 0; chain < CHAINS; chain++) {
        let value = half(half((i % 256) / 256 + (chain % 4) / 4) + Math.floor(chain / 4));
        for (let round = 0; round < p.rounds; round++) value = half(value * FACTOR + OFFSET);
        results[i] += value;
      }
    }
  },
  cost: (p) => ({
    flops: p.workgroups * WORKGROUP * CHAINS * p.rounds * 2, // a product and an addition
    bytesRead: 0,
    bytesWritten: p.workgroups * WORKGROUP * 4,
  }),
  // Each step may round the product as well as the sum.
  tolerance: { abs: 0.2, rel: 2e-3, cosine: 1e-5 },
});
