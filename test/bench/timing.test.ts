import { describe, expect, it } from 'vitest';
import { GpuClock, measure, quantile } from '../../src/bench/timing.ts';
import { gpu } from '../harness.ts';

describe('quantile', () => {
  it('lies between its neighbours', () => {
    expect(quantile([3, 1, 2], 0.5)).toBe(2);
    expect(quantile([4, 1, 2, 3], 0.5)).toBe(2.5);
    expect(quantile([10, 0], 0.1)).toBeCloseTo(1);
    expect(quantile([7], 0.9)).toBe(7);
    expect(quantile([], 0.5)).toBeNaN();
  });
});

describe.skipIf(gpu === undefined)('measure', () => {
  it('lengthens samples until they last, and takes enough of them', async () => {
    if (gpu === undefined) return;
    // A clock of its own: half a microsecond a dispatch, so that nothing here depends on a machine's speed.
    const seen: number[] = [];
    let encoded = 0;
    const clock = new GpuClock(gpu);
    clock.pass = async (encode) => {
      encoded = 0;
      encode({} as GPUComputePassEncoder);
      seen.push(encoded);
      return encoded * 0.5;
    };
    const count = (_: GPUComputePassEncoder, dispatches: number) => {
      encoded = dispatches;
    };
    const timing = await measure(clock, count, { samples: 5, sampleUs: 100 });
    clock.dispose();
    expect(timing).toMatchObject({ us: 0.5, p10: 0.5, p90: 0.5 });
    expect(timing.dispatches).toBeGreaterThanOrEqual(200);
    expect(timing.samples).toBeGreaterThanOrEqual(5);
    expect(seen.slice(-timing.samples)).toEqual(Array(timing.samples).fill(timing.dispatches));
  });

  it('says so when no time passes', async () => {
    if (gpu === undefined) return;
    const clock = new GpuClock(gpu);
    clock.pass = async () => 0;
    await expect(measure(clock, () => {})).rejects.toThrow(/clock stood still/);
    clock.dispose();
  });

  it('gives times above zero for a pass', async () => {
    if (gpu === undefined) return;
    const clock = new GpuClock(gpu);
    expect(await clock.pass(() => {})).toBeGreaterThanOrEqual(0);
    expect(await clock.roundTrip()).toBeGreaterThan(0);
    clock.dispose();
  });
});
