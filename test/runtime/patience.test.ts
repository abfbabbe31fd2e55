import { afterEach, describe, expect, it, vi } from 'vitest';
import { openDevice } from '../../src/runtime/device.ts';
import { patiently } from '../../src/runtime/patience.ts';
import { gpu } from '../harness.ts';

const later = <T>(ms: number, value: T) =>
  new Promise<T>((resolve) => {
    setTimeout(resolve, ms, value);
  });

/** Turns of the event loop until `work` is done, when something asks for another all the time, as Dawn does. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  let waiting = true;
  const turn = () => {
    turns++;
    if (waiting) setImmediate(turn);
  };
  setImmediate(turn);
  await work;
  waiting = false;
  return turns;
}

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

describe('waiting for a software adapter', () => {
  const software = { rests: true };

  it('rests between turns of the event loop', async () => {
    // A loop that does not rest turns some 100 000 times.
    expect(await turnsDuring(patiently(software, later(300, 1)))).toBeLessThan(1000);
  });

  it('rests for short at first, then longer, and for short again once a wait is over', async () => {
    const rests = vi.spyOn(Atomics, 'wait');
    const long = () => turnsDuring(patiently(software, later(200, 1)));
    await long();
    const first = rests.mock.calls.map(([, , , ms]) => ms as number);
    rests.mockClear();
    await long();
    const second = rests.mock.calls.map(([, , , ms]) => ms as number);
    for (const times of [first, second]) {
      expect(times[0]).toBeLessThan(0.1);
      expect(times).toEqual([...times].sort((a, b) => a - b));
      expect(times.at(-1)).toBeGreaterThan(times[0]);
      expect(times.at(-1)).toBeLessThanOrEqual(5);
      // However late the thread wakes, it has not waited for longer than that.
      expect(times.reduce((a, b) => a + b)).toBeLessThan(250);
    }
  });

  it('gives what was waited for, or its error, and rests no longer', async () => {
    expect(await patiently(software, later(1, 'done'))).toBe('done');
    await expect(patiently(software, Promise.reject(new Error('lost')))).rejects.toThrow('lost');
    await later(5, undefined);
    const rests = vi.spyOn(Atomics, 'wait');
    await later(20, undefined);
    expect(rests).not.toHaveBeenCalled();
  });
});

it('does not rest unless asked to', async () => {
  const rests = vi.spyOn(Atomics, 'wait');
  expect(await patiently({ rests: false }, later(20, 7))).toBe(7);
  expect(rests).not.toHaveBeenCalled();
});

it.skipIf(gpu === undefined)(
  'rests for software adapters only, and only with STEP3_REST=1, as tests have it',
  async () => {
    const software = /llvmpipe|swiftshader/i.test(gpu?.name ?? '');
    expect(gpu?.rests).toBe(software);
    vi.stubEnv('STEP3_REST', undefined);
    const other = await openDevice({ adapter: process.env.STEP3_ADAPTER });
    expect(other.rests).toBe(false);
    other.dispose();
  },
);
