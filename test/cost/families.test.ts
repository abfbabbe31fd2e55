/** Whether what calibration probes is what plans need, and nothing that they run. No GPU. */
import { describe, expect, it } from 'vitest';
import { probeShapes } from '../../src/bench/probe_shapes.ts';
import { PRESETS } from '../../src/config/index.ts';
import { workOf } from '../../src/cost/work.ts';
import { BASELINE, type Capabilities, pickVariant } from '../../src/kernels/kernel.ts';
import { cacheShape } from '../../src/model/cache.ts';
import type { Plan } from '../../src/model/plan.ts';
import { planDecode, planPrefill } from '../../src/model/plans.ts';
import { type FormatOf, weightLayout } from '../../src/weights/layout.ts';

const LARGE: Capabilities = {
  subgroups: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  matrixUnits: true,
  packedDots: true,
  shaderF16: true,
  maxBindingBytes: 2 ** 31 - 4,
  maxStorageBuffers: 8,
  maxWorkgroups: 65535,
};
/** The same where kernels may bind twice as many buffers, so that more work shares a call. */
const WIDE: Capabilities = { ...LARGE, maxStorageBuffers: 16 };
const SOFTWARE: Capabilities = {
  ...LARGE,
  subgroupMinSize: 8,
  subgroupMaxSize: 8,
  matrixUnits: false,
  maxBindingBytes: 128 * 1024 ** 2,
};
const PLAIN: Capabilities = { ...LARGE, matrixUnits: false };
const ADAPTERS = [
  { name: 'a large GPU', caps: LARGE, brief: false },
  { name: 'a large GPU with many buffers', caps: WIDE, brief: false },
  { name: 'a large GPU without matrix units', caps: PLAIN, brief: false },
  { name: 'an adapter without features', caps: BASELINE, brief: false },
  { name: 'a software driver', caps: SOFTWARE, brief: true },
];

/** Compressed weights, but for the router's. */
const FP8 = { format: 'fp8', group: 128 } as const;
const compressed: FormatOf = (tensor) => (/\.moe\.gate\.weight$/.test(tensor) ? { format: 'bf16' } : FP8);

/** Plans of the presets that an adapter is for: slow ones do not run the released models' widths. */
function plans(caps: Capabilities, formats: FormatOf = () => ({ format: 'bf16' })): Plan[] {
  const large = [LARGE, WIDE, PLAIN].includes(caps);
  const configs = Object.values(PRESETS).filter((config) => large || config.hidden_size < 1000);
  return configs.flatMap((config) => {
    const layout = weightLayout(config, formats, caps.maxBindingBytes);
    return [1, 2, 4, 8, 16, 64].flatMap((batch) =>
      [256, 2048].flatMap((context) => {
        return (['f16', 'fp8'] as const).flatMap((kv) => {
          const size = { sequences: batch, maxContext: context, together: 4, kv };
          const options = { layout, cache: cacheShape(config, 0, size), caps, deterministic: false };
          return [
            planDecode(config, options, batch, context),
            planPrefill(config, options, 4, context, { kind: 'picked', rows: 1 }),
          ];
        });
      }),
    );
  });
}

describe.each(ADAPTERS)('probes for $name', ({ caps, brief }) => {
  const options = { subgroup: caps.subgroupMaxSize, greedy: true };
  const probes = probeShapes(caps, brief, ['fp8']).map((probe) => {
    const { kernel, params } = probe;
    const { context = 1 } = params as { context?: number };
    const variant = pickVariant(kernel, caps);
    const work = workOf(
      { kernel, params, variant },
      { ...options, greedy: probe.greedy, context, even: true },
    );
    return { ...probe, work };
  });

  it('are calls that their kernels accept, with finite work', () => {
    for (const { kernel, params, shape, work } of probes) {
      expect(() => kernel.check(params), shape).not.toThrow();
      const { cost, ...rest } = work;
      for (const value of Object.values({ ...cost, ...rest })) {
        if (typeof value !== 'number') continue;
        expect(Number.isFinite(value) && value >= 0, `${kernel.name} ${shape}`).toBe(true);
      }
      expect(work.workgroups, shape).toBeGreaterThan(0);
    }
  });

  it('give every family at least three probes with weights from memory', () => {
    const counts = new Map<string, number>();
    for (const { work, heat } of probes) {
      if (heat === 'cold') counts.set(work.family, (counts.get(work.family) ?? 0) + 1);
    }
    for (const [family, count] of counts) expect(count, family).toBeGreaterThanOrEqual(3);
  });

  it.each([
    { weights: '16-bit', formats: undefined },
    { weights: 'fp8', formats: compressed },
  ])('cover every family of every preset with $weights weights', ({ formats }) => {
    const known = new Set(probes.map(({ work }) => work.family));
    for (const plan of plans(caps, formats)) {
      for (const call of plan.calls) {
        const { family } = workOf(call, { ...options, context: 2048 });
        expect(known.has(family), `${family} (${call.label})`).toBe(true);
      }
    }
  });

  it('have no width that a preset has', () => {
    const widths = new Set<string>();
    for (const plan of plans(caps)) {
      for (const { kernel, params } of plan.calls) {
        const { N, K, heads, context } = params as Record<string, number | undefined>;
        if (K !== undefined) widths.add(`${kernel.name} ${N} ${K}`);
        if (heads !== undefined) widths.add(`heads ${heads} ${context}`);
      }
    }
    for (const { kernel, params, shape } of probes) {
      const { N, K, heads, context } = params as Record<string, number | undefined>;
      if (K !== undefined) expect(widths.has(`${kernel.name} ${N} ${K}`), shape).toBe(false);
      if (heads !== undefined) expect(widths.has(`heads ${heads} ${context}`), shape).toBe(false);
    }
  });
});
