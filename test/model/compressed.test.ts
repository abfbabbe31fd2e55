/** Which kernels plans choose for compressed weights. No GPU. */
import { expect, it } from 'vitest';
import { PRESETS } from '../../src/config/index.ts';
import { BASELINE, type Capabilities } from '../../src/kernels/kernel.ts';
import type { LinearParams } from '../../src/kernels/linear.ts';
import { matvec_rows } from '../../src/kernels/matvec_rows.ts';
import { cacheShape } from '../../src/model/cache.ts';
import type { Plan } from '../../src/model/plan.ts';
import { planDecode } from '../../src/model/plans.ts';
import { selfTestShapes, selfTestTokens } from '../../src/runtime/selftest.ts';
import type { WeightFormat } from '../../src/tensor.ts';
import { type FormatOf, weightLayout } from '../../src/weights/layout.ts';

const UNITS: Capabilities = {
  ...BASELINE,
  subgroups: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  matrixUnits: true,
};

function plan(
  format: WeightFormat,
  batch: number,
  caps: Capabilities,
  deterministic = false,
  shared = format,
): Plan {
  const config = PRESETS['step3-mini'];
  const row = (format: WeightFormat) => ({
    format,
    group: format === 'fp8' || format === 'int4' ? 128 : undefined,
  });
  const formats: FormatOf = (name) => row(name.includes('.share_expert.') ? shared : format);
  const layout = weightLayout(config, formats, caps.maxBindingBytes);
  const size = { sequences: batch, maxContext: 64, together: 1, kv: 'f32' } as const;
  const options = { layout, cache: cacheShape(config, 0, size), caps, deterministic };
  return planDecode(config, options, batch, 64);
}

function kernels(format: WeightFormat, batch: number, deterministic = false): string[] {
  const { calls } = plan(format, batch, BASELINE, deterministic);
  return [...new Set(calls.map(({ kernel }) => kernel.name))].filter((name) => name.startsWith('matvec'));
}

/** Kernels of the linear layers that are large enough for matrix units, by what they are. */
function large(format: WeightFormat, batch: number, deterministic = false): Record<string, string> {
  const calls = plan(format, batch, UNITS, deterministic).calls.filter(({ label }) =>
    /^lm_head$|\.moe\.(gate|gate_up_proj)$/.test(label),
  );
  return Object.fromEntries(
    calls.map(({ label, kernel, params }) => [
      label.replace(/^layers\.\d+\./, ''),
      `${kernel.name} ${(params as LinearParams).tile}`,
    ]),
  );
}

it('few rows of compressed weights have a kernel of their own, more rows and plain weights have not', () => {
  expect(kernels('q8_0', 1)).toEqual(['matvec_units']);
  expect(kernels('q8_0', 2)).toEqual(['matvec_units']);
  expect(kernels('bf16', 1)).toEqual(['matvec']);
  expect(kernels('q8_0', 1, true)).toEqual(['matvec']);
  // Chosen experts are single rows of x, however many tokens there are.
  expect(kernels('q8_0', 4).sort()).toEqual(['matvec', 'matvec_units']);
});

it.each(['fp8', 'int4', 'q8_0'] as const)('matrix units multiply %s from seven tokens on', (format) => {
  expect(large(format, 1).lm_head).toBe('matvec_units 1');
  expect(large(format, 6).lm_head).toBe('matvec_units 2');
  expect(large(format, 7).lm_head).toBe('matmul_matrix 8');
  expect(large(format, 9).lm_head).toBe('matmul_matrix 16');
  expect(large(format, 16).lm_head).toBe('matmul_matrix 16');
  expect(large(format, 64)).toEqual({
    'moe.gate': 'matvec 4',
    'moe.gate_up_proj': 'matmul_matrix 16',
    lm_head: 'matmul_matrix 64',
  });
  expect(large(format, 65).lm_head).toBe('matmul_matrix 128');
  expect(large(format, 64, true).lm_head).toBe('matvec 4');
  expect(large('f32', 64).lm_head).toBe('matmul 64');
});

it('the self-test takes a shape of every format and tile that a plan has', () => {
  const { calls } = plan('q8_0', 64, UNITS);
  const kernel = calls.find(({ kernel }) => kernel.name === 'matmul_matrix')?.kernel;
  const formats = (of: unknown[]) =>
    selfTestShapes(kernel!, { format: new Set(of), tile: new Set([16]) }).map(
      ({ params }) => (params as LinearParams).format,
    );
  expect(formats(['q8_0', 'bf16'])).toContain('q8_0');
  expect(formats(['fp8', 'q4_k'])).toEqual(expect.arrayContaining(['fp8', 'q4_k']));
  expect(formats(['bf16'])).toHaveLength(2);
  const tiles = selfTestShapes(matvec_rows, { format: new Set(['f16']), tile: new Set([1, 2, 4]) });
  expect(tiles.map(({ params }) => (params as LinearParams).tile)).toEqual(expect.arrayContaining([1, 2, 4]));
});

it.each(['bf16', 'q8_0'] as const)(
  'plans for the self-test have every tile of plans of any size, %s',
  (format) => {
    const tilesOf = (batches: readonly number[]) =>
      new Set(
        batches.flatMap((batch) =>
          plan(format, batch, { ...UNITS, maxBindingBytes: 2 ** 33 }).calls.map(
            ({ kernel, params }) => `${kernel.name} ${(params as LinearParams).tile}`,
          ),
        ),
      );
    const every = [...Array.from({ length: 256 }, (_, i) => i + 1), 300, 700, 1100, 1500, 2000, 3000];
    const tested = tilesOf([1, ...selfTestTokens(true, 4096)]);
    expect([...tilesOf(every)].filter((tile) => !tested.has(tile))).toEqual([]);
    expect(selfTestTokens(true, 1)).toEqual([]);
    expect(selfTestTokens(true, 6)).toEqual([2, 4, 6]);
    expect(selfTestTokens(true, 1000).at(-1)).toBe(1000);
    expect(selfTestTokens(true, 5000).at(-1)).toBe(4096);
    expect(selfTestTokens(false, 256)).toEqual([]);
  },
);

it('a shared expert of a format of its own does not keep workgroups from choosing experts', () => {
  const layer = (batch: number, shared?: WeightFormat, deterministic = false) =>
    plan('fp8', batch, UNITS, deterministic, shared)
      .calls.filter(({ label }) => /^layers\.4\.(moe|share_expert)\./.test(label))
      .map(({ kernel, label }) => `${kernel.name} ${label.slice('layers.4.'.length)}`);
  expect(layer(1)).toEqual([
    'matvec_units moe.gate',
    'matvec_units moe.gate_up_proj',
    'moe_down moe.down_proj',
  ]);
  expect(layer(1, 'bf16')).toEqual([
    'matvec_units moe.gate',
    'matvec_units moe.gate_up_proj',
    'matvec share_expert.gate_up_proj',
    'matvec share_expert.down_proj',
    'moe_down moe.down_proj',
  ]);
  expect(layer(1, 'bf16', true)).toContain('moe_group moe.group');
});
