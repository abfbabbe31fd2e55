import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callCost } from '../../src/bench/call_cost.ts';
import type { Ceilings } from '../../src/bench/ceilings.ts';
import { benchPrefill } from '../../src/bench/prefill.ts';
import { profilePrefill } from '../../src/bench/profile.ts';
import { cutLayers, syntheticModel } from '../../src/bench/synthetic_model.ts';
import { preset } from '../../src/config/index.ts';
import { type AttentionParams, mfa_decode } from '../../src/kernels/mfa_decode.ts';
import { rmsnorm } from '../../src/kernels/rmsnorm.ts';
import type { KernelCall } from '../../src/model/plan.ts';
import { openDevice } from '../../src/runtime/device.ts';
import type { Model } from '../../src/runtime/model.ts';
import { gpu } from '../harness.ts';

const CEILINGS: Ceilings = { readGBs: 100, readBytes: 1, fmaTFLOPs: 1, dispatchUs: 1, roundTripUs: 1 };

describe('callCost', () => {
  const call = (kernel: KernelCall['kernel'], params: unknown): KernelCall => ({
    ...{ kernel, params, variant: kernel.variants[0], slots: {}, role: 'attention', layer: 0, label: 'a' },
  });
  const attention: AttentionParams = {
    ...{ allTokens: 6, tokenBegin: 2, tokens: 4, heads: 2, kvHeads: 1, D: 64, kv: 'f16', sequences: 1 },
    ...{ maxPages: 64, pages: 64, splits: 1, splitLen: 1024, context: 1024 },
  };

  it('costs attention at what every token of the call sees, not at what the plan is made for', () => {
    // Rows 2 to 5 of a chunk that begins at position 100.
    const seen = [103, 104, 105, 106].reduce((a, b) => a + b, 0);
    const { flops } = callCost(call(mfa_decode, attention), (row) => 100 + row + 1);
    expect(flops).toBe(seen * 2 * 64 * 4);
    const windowed = callCost(call(mfa_decode, { ...attention, window: 104 }), (row) => 100 + row + 1);
    expect(windowed.flops).toBe((103 + 104 + 104 + 104) * 2 * 64 * 4);
    expect(callCost(call(mfa_decode, attention), () => 1024)).toEqual(mfa_decode.cost(attention));
  });

  it('takes other calls as they are declared', () => {
    const { params } = rmsnorm.shapes.test[0];
    expect(callCost(call(rmsnorm, params), () => 1)).toEqual(rmsnorm.cost(params));
  });
});

describe.skipIf(gpu === undefined)('reading prompts', () => {
  let model: Model;
  beforeAll(async () => {
    if (gpu === undefined) return;
    const own = await openDevice({ adapter: process.env.STEP3_ADAPTER });
    model = await syntheticModel(own, cutLayers(preset('step3-tiny'), 2), {
      ...{ maxContext: 101, maxBatch: 1, chunk: 32, kv: 'f16' },
    });
  }, 300_000);
  afterAll(() => model?.dispose());

  it('runs every chunk of the prompt, and gives its pages back', async () => {
    const free = model.pages.whole.free;
    const wanted = { prompt: 100, chunk: 32, rounds: 2 };
    const row = await benchPrefill(model, wanted, CEILINGS);
    const inner = await model.prefillPlan(32, 96, { kind: 'none' });
    const last = await model.prefillPlan(4, 100, { kind: 'picked', rows: 1 });
    const dispatches = 3 * inner.plan.calls.length + last.plan.calls.length;
    expect(row).toMatchObject({ ...wanted, dispatches });
    for (const [name, value] of Object.entries(row)) {
      if (value === undefined) continue;
      expect(value, name).toBeGreaterThanOrEqual(0);
      expect(Number.isFinite(value), name).toBe(true);
    }
    expect(model.pages.whole.free).toBe(free);
  });

  it('takes a prompt in one step where the chunk is longer, with the same work in its layers', async () => {
    const whole = await benchPrefill(model, { prompt: 100, chunk: 128, rounds: 1 }, CEILINGS);
    const { plan } = await model.prefillPlan(100, 100, { kind: 'picked', rows: 1 });
    expect(whole).toMatchObject({ prompt: 100, chunk: 128, dispatches: plan.calls.length });
    const parts = await benchPrefill(model, { prompt: 100, chunk: 25, rounds: 1 }, CEILINGS);
    expect(parts.dispatches).toBeGreaterThan(whole.dispatches);
    // Only slices of the context, joined afterwards, depend on the chunk.
    expect(Math.abs(parts.flops / whole.flops - 1)).toBeLessThan(0.02);
  });

  it('refuses what it has no room for', async () => {
    const free = model.pages.whole.free;
    const wanted = { prompt: 101, chunk: 32, rounds: 1 };
    await expect(benchPrefill(model, wanted, CEILINGS)).rejects.toThrow(/prompt: .*at most 100 tokens/);
    await expect(benchPrefill(model, { ...wanted, prompt: 0 }, CEILINGS)).rejects.toThrow(/prompt: /);
    await expect(benchPrefill(model, { ...wanted, prompt: 40, chunk: 0 }, CEILINGS)).rejects.toThrow(
      /chunk: .*at least 1 /,
    );
    expect(model.pages.whole.free).toBe(free);
  });

  it('reads prompts longer than a window in chunks that its ring has room for, and no others', async () => {
    const config = cutLayers(preset('step35-tiny'), 2);
    const own = await openDevice({ adapter: process.env.STEP3_ADAPTER });
    const options = { maxContext: 81, maxBatch: 1, chunk: 16, kv: 'f16' } as const;
    const windowed = await syntheticModel(own, config, options);
    try {
      const free = windowed.pages.ring.free;
      const wanted = { prompt: 80, chunk: 16, rounds: 1 };
      expect(await benchPrefill(windowed, wanted, CEILINGS)).toMatchObject(wanted);
      await expect(benchPrefill(windowed, { ...wanted, chunk: 17 }, CEILINGS)).rejects.toThrow(
        /chunk: .*at most 16 /,
      );
      expect(windowed.pages.ring.free).toBe(free);
    } finally {
      windowed.dispose();
    }
  });

  it('profiles every call of the last chunk once', async () => {
    if (gpu?.timestamps !== true) return;
    const rows = await profilePrefill(model, { prompt: 40, chunk: 32, rounds: 1 }, CEILINGS);
    const { plan } = await model.prefillPlan(8, 40, { kind: 'picked', rows: 1 });
    expect(rows.reduce((sum, row) => sum + row.calls, 0)).toBe(plan.calls.length);
    expect(rows.reduce((sum, row) => sum + row.sharePercent, 0)).toBeCloseTo(100);
    expect(rows.every(({ us, tflops }) => us >= 0 && tflops >= 0)).toBe(true);
  });
});
