import { describe, expect, it } from 'vitest';
import { FORMAT_CASES } from '../../src/kernels/format_cases.ts';
import { dense, type LinearParams } from '../../src/kernels/linear.ts';
import { routed } from '../../src/kernels/linear_cases.ts';
import { matvec_units } from '../../src/kernels/matvec_units.ts';
import { choosesLevels, hasBytes } from '../../src/kernels/weights.ts';
import { testKernel } from '../harness.ts';

testKernel(matvec_units);

// Variants that no CPU adapter runs differ in constants, of which all but the size of subgroups can be tried there, and in
// where some formats find their levels: with every format that these are for, and what is for all variants to run.
const ROUNDED_SHAPES = matvec_units.shapes.test.filter(
  ({ params: { format }, once }, i) =>
    (hasBytes(format) || choosesLevels(format)) && (once !== true || i < FORMAT_CASES.length),
);
testKernel({
  ...matvec_units,
  shapes: { ...matvec_units.shapes, test: ROUNDED_SHAPES },
  variants: matvec_units.variants
    .filter(({ name }) => name === 'subgroup-32-rounded')
    .map((variant) => ({
      ...variant,
      constants: { ...variant.constants, PART_LEAST: 4 },
      available: (caps) => caps.subgroups && caps.packedDots === true,
    })),
});

describe('workgroups of matvec_units', () => {
  const layoutOf = (p: LinearParams) => matvec_units.constants(p) as { WG: number; QUADS: number };

  it('keep their sums within the memory that WebGPU guarantees, subgroups of four included', () => {
    const routing = { experts: 288, topK: 8, renormalise: true };
    for (const format of ['q8_0', 'q4_k', 'iq4_nl'] as const) {
      for (const K of [256, 1280, 4096, 7168, 8192, 18432]) {
        for (const N of [4, 2560, 36864, 128815]) {
          for (const [p, choosing] of [
            [dense(N, K, 1, { format }), 0],
            [routed(routing, N, K, 4, { format }), 4 * routing.experts + 8 * routing.topK],
          ] as const) {
            const { WG, QUADS } = layoutOf(p);
            const levels = choosesLevels(format) ? 16 * 32 * 4 : 0;
            expect((QUADS * 4 + 1) * (WG / 4) * 4 + choosing + levels).toBeLessThanOrEqual(16 * 1024);
          }
        }
      }
    }
  });

  it('fill rounds and leave none nearly empty', () => {
    const invocations = (N: number, K: number) => {
      const p = dense(N, K, 1, { format: 'q4_k' });
      return matvec_units.workgroups(p, 32)[1] * layoutOf(p).WG;
    };
    const round = 132 * 28 * 32;
    for (const [N, K, rounds] of [
      [36864, 7168, 1],
      [7168, 18432, 1],
      [128815, 7168, 4],
    ]) {
      expect(invocations(N, K)).toBeLessThanOrEqual(rounds * round);
      expect(invocations(N, K)).toBeGreaterThan(0.95 * rounds * round);
    }
  });
});
