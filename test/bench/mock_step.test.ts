import { describe, expect, it } from 'vitest';
import { Arena, ProbeCall } from '../../src/bench/arena.ts';
import { guardOf } from '../../src/bench/clock_guard.ts';
import { measureWithin } from '../../src/bench/mock_step.ts';
import { type EncodePass, GpuClock } from '../../src/bench/timing.ts';
import { extraPerPass } from '../../src/bench/validate.ts';
import { rmsnorm } from '../../src/kernels/rmsnorm.ts';
import { PipelineCache } from '../../src/runtime/pipelines.ts';
import { gpu } from '../harness.ts';

/** A pass that counts its dispatches by pipeline. */
function counting() {
  const counts = new Map<unknown, number>();
  let pipeline: unknown;
  const pass = {
    setPipeline: (next: unknown) => {
      pipeline = next;
    },
    setBindGroup: () => {},
    dispatchWorkgroups: () => counts.set(pipeline, (counts.get(pipeline) ?? 0) + 1),
  };
  return { counts, pass: pass as unknown as GPUComputePassEncoder };
}

describe('extraPerPass', () => {
  it('shares out what passes take beyond the step, which is a pass itself', () => {
    expect(extraPerPass([7, 8, 9], 14)).toBe(5);
    expect(extraPerPass([1, 1], 5)).toBe(0);
    expect(extraPerPass([3], 3)).toBe(0);
  });
});

describe.skipIf(gpu === undefined)('measureWithin', () => {
  it('is the difference of passes with the call and without it', async () => {
    const pipelines = new PipelineCache(gpu!.device);
    const arena = new Arena(gpu!, 1 << 20);
    const params = { tokens: 3, K: 64, xStride: 64, eps: 1e-5 };
    const make = (K: number) =>
      ProbeCall.create(
        arena,
        pipelines,
        rmsnorm,
        { ...params, K, xStride: K },
        rmsnorm.variants[0],
        false,
        0,
      );
    const [other, call] = [await make(64), await make(72)];
    // A clock of its own: calls take 2 and 5 us, and their inputs 1 us to be written.
    const clock = new GpuClock(gpu!);
    const seen: { others: number; own: number; fresh: number }[] = [];
    clock.passes = async (encodes: readonly EncodePass[]) =>
      encodes.map((encode) => {
        const { counts, pass } = counting();
        encode(pass);
        const others = counts.get(other.compiled.pipeline) ?? 0;
        const own = counts.get(call.compiled.pipeline) ?? 0;
        const fresh = [...counts.values()].reduce((a, b) => a + b, 0) - others - own;
        seen.push({ others, own, fresh });
        return 7 + 2 * others + 5 * own + fresh;
      });
    const options = { step: [other, other], flush: undefined, warm: false, pairs: 3, more: 2, passUs: 100 };
    const timing = await measureWithin(clock, call, options);
    expect(timing).toMatchObject({ us: 5, p10: 5, p90: 5, samples: 3 });
    const { dispatches } = timing;
    expect(dispatches).toBeGreaterThan(3);
    expect(seen.slice(-2)).toEqual([
      { others: 2 * dispatches, own: 0, fresh: dispatches },
      { others: 2 * dispatches, own: dispatches, fresh: dispatches },
    ]);
    // Calls that share its code are left out; with warm code it runs before them in both kinds of passes.
    await measureWithin(clock, call, { ...options, step: [other, call], warm: true });
    const [without, with_] = seen.slice(-2);
    expect(without.own).toBe(without.others);
    expect(with_).toEqual({ ...without, own: 2 * without.own });
    // While noise is large, more of them are taken.
    const steady = clock.passes;
    let noise = 0;
    clock.passes = async (encodes) =>
      (await steady.call(clock, encodes)).map((us) => us + ((noise++) ** 2 % 11) * 900);
    expect((await measureWithin(clock, call, options)).samples).toBe(9);
    clock.passes = async (encodes) => encodes.map(() => 0);
    await expect(measureWithin(clock, call, options)).rejects.toThrow(/clock stood still/);
    for (const each of [other, call]) each.dispose();
    arena.dispose();
    clock.dispose();
  });

  it('does without a guard of the clock where memory is slow', async () => {
    const clock = new GpuClock(gpu!);
    const guard = await guardOf({ gpu: gpu!, pipelines: new PipelineCache(gpu!.device), clock }, 10);
    await guard.rise();
    expect(await guard.isSlow()).toBe(false);
    guard.dispose();
    clock.dispose();
  });
});
