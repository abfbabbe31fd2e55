import { describe, expect, it } from 'vitest';
import { BASELINE } from '../../src/kernels/kernel.ts';
import { dense } from '../../src/kernels/linear.ts';
import { matvec_rows } from '../../src/kernels/matvec_rows.ts';
import { testEmulated } from '../emulated.ts';
import { emulatedParts, partsBytes } from '../emulated_parts.ts';
import { testKernel } from '../harness.ts';

testKernel(matvec_rows);
testEmulated(matvec_rows, emulatedParts, partsBytes);

describe('workgroups of matvec_rows', () => {
  const [fastest] = matvec_rows.variants;
  const layoutOf = (N: number, K: number, tokens = 1, variant = fastest) => {
    const p = dense(N, K, tokens, { tile: tokens });
    const { WG, QUADS } = matvec_rows.constants(p, variant) as { WG: number; QUADS: number };
    return { WG, QUADS, groups: matvec_rows.workgroups(p, variant.team(BASELINE))[1] };
  };

  it('are what runs side by side, or whole rounds of that', () => {
    for (const [N, K, rounds] of [
      [36864, 7168, 1],
      [7168, 16384, 1],
      [7168, 18432, 1],
      [16384, 2048, 1],
      [128815, 7168, 2],
    ]) {
      const { WG, QUADS, groups } = layoutOf(N, K);
      const abreast = 132 * (K > 2 * 8 * WG ? 512 : 1024);
      expect(groups * WG).toBeLessThanOrEqual(rounds * abreast);
      expect(groups * WG).toBeGreaterThan(0.95 * rounds * abreast);
      expect(groups * QUADS * 4).toBeGreaterThanOrEqual(N);
    }
  });

  it('are as many for several tokens', () => {
    for (const [N, K, tokens, rounds] of [
      [36864, 7168, 2, 1],
      [7168, 16384, 2, 1],
      [7168, 16384, 4, 1],
      [7168, 18432, 4, 1],
      [16384, 2048, 4, 1],
      [10304, 4096, 4, 1],
      [128896, 4096, 4, 4],
    ]) {
      const { WG, QUADS, groups } = layoutOf(N, K, tokens);
      const abreast = 132 * Math.floor(512 / WG);
      expect(groups).toBeLessThanOrEqual(rounds * abreast);
      expect(groups).toBeGreaterThan(0.95 * rounds * abreast);
      expect(groups * QUADS * 4).toBeGreaterThanOrEqual(N);
    }
  });

  it('keep their sums within the memory that WebGPU guarantees, subgroups of four included', () => {
    for (const variant of matvec_rows.variants) {
      // Sums through workgroup memory meet in two vectors of each invocation.
      const [least, meet] =
        variant.name === 'workgroup' ? [32, 32] : [Number(variant.constants?.PART_LEAST), 0];
      for (const tokens of [1, 2, 4]) {
        for (const K of [64, 2048, 4096, 7168, 18432]) {
          for (const N of [4, 2560, 36864, 128815, 1_000_000]) {
            const { WG, QUADS } = layoutOf(N, K, tokens, variant);
            const sums = (QUADS * 4 + 1) * tokens * (WG / least) * 4;
            expect(sums + WG * meet).toBeLessThanOrEqual(16 * 1024);
            expect(QUADS * tokens).toBeLessThanOrEqual(WG);
          }
        }
      }
    }
  });

  it('refuse what the text is not for', () => {
    for (const p of [
      dense(8, 64, 1, { format: 'f32' }),
      dense(8, 64, 3, { tile: 3 }),
      dense(8, 18440, 1),
      dense(8, 64, 1, { format: 'q8_0' }),
    ]) {
      expect(() => matvec_rows.check(p)).toThrow('expected bf16 or f16');
    }
  });
});
