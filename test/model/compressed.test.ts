/** Which kernels plans choose for compressed weights. No GPU. */
import { expect, it } from 'vitest';
import { PRESETS } from '../../src/config/index.ts';
import { BASELINE } from '../../src/kernels/kernel.ts';
import { cacheShape } from '../../src/model/cache.ts';
import { planDecode } from '../../src/model/plans.ts';
import type { WeightFormat } from '../../src/tensor.ts';
import { weightLayout } from '../../src/weights/layout.ts';

function kernels(format: WeightFormat, batch: number, deterministic = false): string[] {
  const config = PRESETS['step3-mini'];
  const layout = weightLayout(config, () => ({ format }), BASELINE.maxBindingBytes);
  const size = { sequences: batch, maxContext: 64, together: 1, kv: 'f32' } as const;
  const options = { layout, cache: cacheShape(config, 0, size), caps: BASELINE, deterministic };
  const { calls } = planDecode(config, options, batch, 64);
  return [...new Set(calls.map(({ kernel }) => kernel.name))].filter((name) => name.startsWith('matvec'));
}

it('single tokens of compressed weights have a kernel of their own, more tokens and plain weights have not', () => {
  expect(kernels('q8_0', 1)).toEqual(['matvec_units']);
  expect(kernels('bf16', 1)).toEqual(['matvec']);
  expect(kernels('q8_0', 1, true)).toEqual(['matvec']);
  // Chosen experts are single rows of x, however many tokens there are.
  expect(kernels('q8_0', 4).sort()).toEqual(['matvec', 'matvec_units']);
});
