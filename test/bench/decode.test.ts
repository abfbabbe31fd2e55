import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Ceilings } from '../../src/bench/ceilings.ts';
import { benchDecode } from '../../src/bench/decode.ts';
import { profileDecode } from '../../src/bench/profile.ts';
import { cutLayers, syntheticModel } from '../../src/bench/synthetic_model.ts';
import { preset } from '../../src/config/index.ts';
import { openDevice } from '../../src/runtime/device.ts';
import type { Model } from '../../src/runtime/model.ts';
import { gpu } from '../harness.ts';

const CEILINGS: Ceilings = { readGBs: 100, readBytes: 1, fmaTFLOPs: 1, dispatchUs: 1, roundTripUs: 1 };

describe('cutLayers', () => {
  it('keeps the first layers, and those of them that are mixtures of experts', () => {
    expect(cutLayers(preset('step3'), 6)).toMatchObject({ num_hidden_layers: 6, moe_layers: [4, 5] });
    expect(cutLayers(preset('step3'), 2).moe_layers).toEqual([]);
    expect(() => cutLayers(preset('step3-tiny'), 5)).toThrow(/layers: .*1\.\.4/);
  });
});

describe.skipIf(gpu === undefined)('a synthetic model', () => {
  let model: Model;
  beforeAll(async () => {
    if (gpu === undefined) return;
    const own = await openDevice({ adapter: process.env.STEP3_ADAPTER });
    model = await syntheticModel(own, preset('step3-tiny'), { maxContext: 300, maxBatch: 2, kv: 'f16' });
  }, 300_000);
  afterAll(() => model?.dispose());

  it('decodes past a power of two of the context, and gives its pages back', async () => {
    const free = model.pages.whole.free;
    const row = await benchDecode(model, { batch: 2, context: 250, steps: 8 }, CEILINGS);
    expect(row.dispatches).toBeGreaterThanOrEqual(20);
    for (const [name, value] of Object.entries(row)) {
      if (value === undefined) continue;
      expect(value, name).toBeGreaterThanOrEqual(0);
      expect(Number.isFinite(value), name).toBe(true);
    }
    expect(row.tpotMs).toBeGreaterThanOrEqual(row.gpuMs ?? 0);
    expect(model.pages.whole.free).toBe(free);
  });

  it('has weights as a conversion leaves them when asked to', async () => {
    const own = await openDevice({ adapter: process.env.STEP3_ADAPTER });
    const options = { maxContext: 40, maxBatch: 1, kv: 'f16', format: 'q8_0' } as const;
    const quantised = await syntheticModel(own, cutLayers(preset('step35-tiny'), 2), options);
    try {
      const { plan } = await quantised.decodePlan(1, 1);
      expect(plan.calls.map(({ kernel }) => kernel.name)).toContain('matvec_units');
      const row = await benchDecode(quantised, { batch: 1, context: 20, steps: 4 }, CEILINGS);
      expect(row.tokensPerSecond).toBeGreaterThan(0);
    } finally {
      quantised.dispose();
    }
  });

  it('refuses what it has no room for', async () => {
    const wanted = { batch: 1, context: 10, steps: 4 };
    await expect(benchDecode(model, { ...wanted, batch: 3 }, CEILINGS)).rejects.toThrow(/batch: .*at most 2/);
    await expect(benchDecode(model, { ...wanted, context: 299 }, CEILINGS)).rejects.toThrow(/context: /);
    await expect(benchDecode(model, { ...wanted, steps: 5000 }, CEILINGS)).rejects.toThrow(/steps: /);
  });

  it('profiles every call once', async () => {
    if (gpu?.timestamps !== true) return;
    const rows = await profileDecode(model, { batch: 1, context: 100, steps: 4 }, CEILINGS);
    const { plan } = await model.decodePlan(1, 100);
    expect(rows.reduce((sum, row) => sum + row.calls, 0)).toBe(plan.calls.length);
    expect(rows.reduce((sum, row) => sum + row.sharePercent, 0)).toBeCloseTo(100);
    expect(rows.every((row) => row.us >= 0)).toBe(true);
  });
});
