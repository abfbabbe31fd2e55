/** Whole models over a cache of e4m3 with a scale per row. */
import { describe, expect, it } from 'vitest';
import { preset } from '../../src/config/index.ts';
import { InputError } from '../../src/errors.ts';
import { decodeFp8Pages, encodeFp8Pages } from '../../src/kernels/fp8_pages.ts';
import type { KvFormat } from '../../src/kernels/paged.ts';
import { type LoadOptions, loadModel } from '../../src/runtime/load_model.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { type Golden, readGolden } from '../golden.ts';
import { gpu } from '../harness.ts';
import { reference35 } from '../reference35.ts';

const MODELS = ['step3-tiny', 'step35-tiny'] as const;

/** Layers × (keys and values) × two pages of positions × KV heads × 16 elements and a scale. */
const CACHE_BYTES = { 'step3-tiny': 5 * 2 * 128 * 1 * 20, 'step35-tiny': 6 * 2 * 128 * 2 * 20 } as const;
const MODES = [
  { mode: 'prefill' },
  { mode: 'decode' },
  { mode: 'chunked', chunk: 7 },
  { mode: 'chunked', chunk: 16 },
] as const;

/** The interpreter against a definition in the same double precision: both round every element to the same number. */
const SAME = 1e-3;

/**
 * GPU against interpreter, root mean square. They agree within 1e-4 unless a value lies so close to the middle between two
 * e4m3 numbers that it goes to the other; one such element may change the experts of a token, and so all of its logits.
 * Elements that are not rounded at all, or all to a wrong scale, move them by 0.12 and more.
 */
const BETWEEN = 5e-2;

/** What rounding keys and values to 4 bits of mantissa may do beyond 2^7 times of what rounding them to 11 bits does. */
const REROUTED = 4;

const open = (golden: Golden, kv: KvFormat, options: LoadOptions = {}) =>
  loadModel(golden.source, {
    device: 'cpu',
    kv,
    selfTest: false,
    matrixUnits: false,
    maxContext: 128,
    adapter: process.env.STEP3_ADAPTER,
    ...options,
  });

const rms = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.sqrt(Array.from(a, (value, i) => (value - b[i]) ** 2).reduce((x, y) => x + y) / a.length);

const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  a.length === b.length ? Array.from(a, (v, i) => Math.abs(v - b[i])).reduce((x, y) => Math.max(x, y)) : 1e9;

const E4M3 = Array.from({ length: 0x7f }, (_, byte) =>
  byte < 8 ? byte / 512 : (1 + (byte % 8) / 8) * 2 ** (Math.floor(byte / 8) - 7),
);

/** A row as e4m3 holds it, by looking for the nearest number; of two, the one with an even mantissa. */
function nearest(row: number[]): number[] {
  const scale = Math.fround(Math.max(...row.map(Math.abs)) / 448) || 1;
  return row.map((value) => {
    const a = Math.abs(value) / scale;
    const order = E4M3.map((_, byte) => byte).sort(
      (x, y) => Math.abs(E4M3[x] - a) - Math.abs(E4M3[y] - a) || (x % 2) - (y % 2),
    );
    return Math.sign(value) * E4M3[order[0]] * scale;
  });
}

describe('pages of e4m3', () => {
  it('hold the nearest numbers, with scales of their rows behind them', () => {
    const dims = [128, 3, 8];
    const values = Float64Array.from({ length: 128 * 24 }, (_, i) => Math.sin(i * i) * 2 ** ((i % 7) - 3));
    values.fill(0, 8, 16);
    values.fill(Number.NaN, 16, 24);
    const bytes = encodeFp8Pages(dims, values);
    expect(bytes.length).toBe(128 * 3 * (8 + 4));
    const got = decodeFp8Pages(dims, bytes);
    for (let at = 0; at < values.length; at += 8) {
      expect([...got.subarray(at, at + 8)]).toEqual(nearest([...values.subarray(at, at + 8)]));
    }
    const scales = new DataView(bytes.buffer, 64 * 3 * 8, 64 * 3 * 4);
    expect(scales.getFloat32(64 * 4, true)).toBe(1);
    expect(scales.getFloat32(2 * 64 * 4, true)).toBeNaN();
  });

  it('a format of caches that does not exist is refused', async () => {
    const golden = await readGolden('step3-tiny');
    await expect(open(golden, 'fp9' as KvFormat)).rejects.toThrow(InputError);
  });
});

describe('an fp8 cache', () => {
  it('gives what the definition of Step-3.5-Flash gives with rounded keys and values', async () => {
    const golden = await readGolden('step35-tiny');
    const checkpoint = await openCheckpoint(golden.source);
    const { logits } = await reference35(checkpoint, golden.tokens, nearest);
    await checkpoint.close();
    const model = await open(golden, 'fp8');
    for (const mode of MODES) {
      const [got] = await model.logits([golden.tokens], mode);
      expect(far(got, logits.flat()), JSON.stringify(mode)).toBeLessThanOrEqual(SAME);
    }
    model.dispose();
  });

  it('does so beyond a window, in rings of one and of several pages', async () => {
    const config = preset('step35-tiny');
    const tokens = Array.from({ length: 150 }, (_, i) => (i * 53 + 7) % 256);
    const { logits } = await reference35(syntheticCheckpoint(config, 21, 'f32'), tokens, nearest);
    for (const chunk of [1, 40]) {
      const model = await loadModel(syntheticCheckpoint(config, 21, 'f32'), {
        device: 'cpu',
        kv: 'fp8',
        maxContext: 256,
        chunk,
      });
      const [got] = await model.logits([tokens]);
      expect(far(got, logits.flat()), `chunks of ${chunk}`).toBeLessThanOrEqual(SAME);
      model.dispose();
    }
  });

  it.each(MODELS)(
    'of %s: as far from the reference logits as four bits of mantissa make it',
    async (name) => {
      const golden = await readGolden(name);
      const apart: number[] = [];
      for (const kv of ['f16', 'fp8'] as const) {
        const model = await open(golden, kv);
        const [got] = await model.logits([golden.tokens], { mode: 'decode' });
        apart.push(rms(golden.logits, got));
        model.dispose();
      }
      // e4m3 has 7 bits less than binary16; tokens whose experts are nearly tied may be routed elsewhere.
      expect(apart[1] / apart[0]).toBeGreaterThan(2 ** 7 / REROUTED);
      expect(apart[1] / apart[0]).toBeLessThan(2 ** 7 * REROUTED);
    },
  );
});

describe.skipIf(gpu === undefined).each(MODELS)('an fp8 cache of %s on the GPU', (name) => {
  it('gives the logits of the interpreter in every mode; a scale adds four bytes to a row', async () => {
    const golden = await readGolden(name);
    const cpu = await open(golden, 'fp8');
    const [want] = await cpu.logits([golden.tokens]);
    cpu.dispose();
    const model = await open(golden, 'fp8', { device: 'gpu' });
    try {
      for (const mode of MODES) {
        const [got] = await model.logits([golden.tokens], mode);
        expect(rms(got, want), JSON.stringify(mode)).toBeLessThanOrEqual(BETWEEN);
      }
      expect(model.bytes().cache).toBe(CACHE_BYTES[name]);
    } finally {
      model.dispose();
    }
  });

  it('deterministic: bit for bit the same in a batch and in any chunks', async () => {
    const { source, tokens } = await readGolden(name);
    const model = await loadModel(source, {
      kv: 'fp8',
      selfTest: false,
      deterministic: true,
      maxBatch: 2,
      maxContext: 128,
      adapter: process.env.STEP3_ADAPTER,
    });
    try {
      const [want] = await model.logits([tokens]);
      for (const mode of MODES) {
        const [got] = await model.logits([tokens, tokens.slice(5, 22)], mode);
        expect(Buffer.compare(Buffer.from(got.buffer), Buffer.from(want.buffer)), mode.mode).toBe(0);
      }
    } finally {
      model.dispose();
    }
  });
});
