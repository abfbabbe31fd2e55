import { afterAll, describe, expect, it } from 'vitest';
import { PLAIN } from '../../src/kernels/kernel.ts';
import { logit_peaks, PEAK_BLOCK, peakBlocks } from '../../src/kernels/logit_peaks.ts';
import { drawUniform, philox4x32, sample } from '../../src/kernels/sample.ts';
import { encodeValues, makeCase, seededRandom } from '../../src/kernels/verify.ts';
import { PipelineCache } from '../../src/runtime/pipelines.ts';
import { runKernel } from '../../src/runtime/run_kernel.ts';
import { encodeSampling, type SamplingOptions } from '../../src/runtime/sampling.ts';
import { ceilDiv, padRow } from '../../src/tensor.ts';
import { gpu, testKernel } from '../harness.ts';

testKernel(sample);

describe('philox4x32', () => {
  // Known answers that come with the authors' Random123.
  it.each([
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [new Array(4).fill(0xffffffff), new Array(2).fill(0xffffffff), '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      'd16cfe09 94fdcceb 5001e420 24126ea1',
    ],
  ])('%j, %j', (counter, key, want) => {
    const words = philox4x32(counter, key).map((word) => word.toString(16).padStart(8, '0'));
    expect(words.join(' ')).toBe(want);
  });

  it('gives numbers in [0, 1) of 24 bits', () => {
    expect(drawUniform(0, 0, 0)).toBe(0x6627e8 / 2 ** 24);
    const numbers = Array.from({ length: 1000 }, (_, position) => drawUniform(7, 1, position));
    expect(numbers.every((u) => u >= 0 && u < 1 && Number.isInteger(u * 2 ** 24))).toBe(true);
    expect(new Set(numbers).size).toBeGreaterThan(990);
  });
});

const pipelines = gpu === undefined ? undefined : new PipelineCache(gpu.device);

/** A sequence whose next token is wanted. */
interface Ask {
  readonly logits: ArrayLike<number>;
  readonly options?: SamplingOptions;
  /** Position of its last token. */
  readonly position?: number;
  readonly seen?: readonly number[];
}

/**
 * Runs the kernel over `asks`, one row each; row r is for sequence `order[r]`, in turn asks[order[r]]. With peaks from
 * `logit_peaks` everything that it writes must be the same.
 */
async function nextTokens(asks: readonly Ask[], order = asks.map((_, s) => s)): Promise<number[]> {
  if (gpu === undefined || pipelines === undefined) throw new Error('no GPU');
  const vocab = asks[0].logits.length;
  const p = { rows: order.length, vocab, logitsStride: padRow(vocab), sequences: asks.length };
  const seenWords = ceilDiv(vocab, 32);
  const logits = new Float64Array(p.rows * p.logitsStride).fill(Number.NaN);
  for (const [r, s] of order.entries()) logits.set(asks[s].logits, r * p.logitsStride);
  const seen = new Uint32Array(p.sequences * seenWords);
  for (const [s, ask] of asks.entries())
    for (const token of ask.seen ?? []) seen[s * seenWords + (token >>> 5)] |= 1 << (token & 31);
  const rows = {
    logits: encodeValues('f32', logits),
    row_sequences: encodeValues('u32', Uint32Array.from(order)),
    options: encodeValues('u32', Uint32Array.from(asks.flatMap((a) => [...encodeSampling(a.options ?? {})]))),
    seen: encodeValues('u32', seen),
  };
  const { peaks } = await runKernel(gpu, pipelines, logit_peaks, p, PLAIN, {
    ...rows,
    peaks: encodeValues('u32', new Uint32Array(p.rows * peakBlocks(vocab) * 2)),
  });
  const contents = {
    ...rows,
    next_tokens: encodeValues('u32', new Uint32Array(p.sequences)),
    next_places: encodeValues('u32', Uint32Array.from(asks.flatMap((a, s) => [s, a.position ?? 0]))),
  };
  const whole = await runKernel(gpu, pipelines, sample, { ...p, peaks: false }, PLAIN, contents);
  const found = await runKernel(gpu, pipelines, sample, { ...p, peaks: true }, PLAIN, { ...contents, peaks });
  expect(found).toEqual(whole);
  return [...new Uint32Array(whole.next_tokens.buffer)];
}

/** A bell-shaped row of logits. */
function bell(vocab: number, random: () => number): number[] {
  return Array.from({ length: vocab }, () => (random() + random() + random() + random() - 2) * 6);
}

describe.skipIf(gpu === undefined)('sample: what it chooses', () => {
  const temperature = 1;
  afterAll(() => gpu?.check());

  it('follows the probabilities over 4,000 seeds', async () => {
    const logits = [0, 1, -1, 0.5, 2, -2, 1.5, 0.25];
    const count = 4000;
    const asks = Array.from({ length: count }, (_, seed) => ({
      logits,
      options: { temperature: 0.8, seed },
    }));
    const hits = new Array(logits.length).fill(0);
    for (const token of await nextTokens(asks)) hits[token]++;
    const weights = logits.map((l) => Math.exp(l / 0.8));
    const total = weights.reduce((a, b) => a + b);
    const chiSquare = weights.reduce((sum, w, t) => {
      const want = (count * w) / total;
      return sum + (hits[t] - want) ** 2 / want;
    }, 0);
    expect(chiSquare).toBeLessThan(24.3); // 7 degrees of freedom, 1 in 1,000
  });

  it('draws anew at every position and from every half of the seed', async () => {
    const logits = new Array(4096).fill(0);
    const asks: Ask[] = [
      { logits, options: { temperature, seed: 5 }, position: 9 },
      { logits, options: { temperature, seed: 5 }, position: 10 },
      { logits, options: { temperature, seed: 6 }, position: 9 },
      { logits, options: { temperature, seed: 5 + 2 ** 32 }, position: 9 },
    ];
    expect(await nextTokens(asks)).toEqual(
      [drawUniform(5, 0, 10), drawUniform(5, 0, 11), drawUniform(6, 0, 10), drawUniform(5, 1, 10)].map((u) =>
        Math.floor(u * 4096),
      ),
    );
  });

  it('does not depend on the batch or the order of rows', async () => {
    const random = seededRandom(3);
    const asks: Ask[] = Array.from({ length: 7 }, (_, s) => ({
      logits: bell(1000, random),
      options: { temperature: 1.2, topP: 0.95, topK: s * 30, minP: 0.001, repetitionPenalty: 1.2, seed: s },
      position: 100 * s,
      seen: [s, 10 * s, 31, 32, 999],
    }));
    const together = await nextTokens(asks);
    expect(await nextTokens(asks, [4, 2, 6, 0, 1, 5, 3])).toEqual(together);
    for (const [s, ask] of asks.entries()) expect(await nextTokens([ask])).toEqual([together[s]]);
  });

  it('is greedy with top_k = 1, with a tiny top_p and with min_p = 1', async () => {
    const random = seededRandom(4);
    const rows = Array.from({ length: 6 }, () => bell(8192, random));
    const greedy = rows.map((row) => row.indexOf(Math.max(...row)));
    const choose = (options: SamplingOptions) =>
      nextTokens(rows.map((logits, seed) => ({ logits, options: { ...options, seed } })));
    expect(await choose({})).toEqual(greedy);
    expect(await choose({ temperature: 1.5, topK: 1 })).toEqual(greedy);
    expect(await choose({ temperature: 1.5, topP: 1e-6 })).toEqual(greedy);
    expect(await choose({ temperature: 1.5, minP: 1 })).toEqual(greedy);
    expect(await choose({ temperature: 1e-40 })).toEqual(greedy);
  });

  it('takes the first of equals, zeros of either sign included', async () => {
    const tied = new Array(600).fill(-1);
    for (const t of [599, 257, 300]) tied[t] = 3;
    const zeros = new Array(600).fill(-1);
    zeros[400] = 0;
    zeros[17] = -0;
    expect(await nextTokens([{ logits: tied }, { logits: zeros }])).toEqual([257, 17]);
  });

  it('keeps ties with the last token of top_k and top_p', async () => {
    const logits = new Array(300).fill(-4);
    for (const t of [7, 150, 299]) logits[t] = 2;
    for (const options of [{ topK: 2 }, { topP: 0.3 }]) {
      const asks = Array.from({ length: 60 }, (_, seed) => ({
        logits,
        options: { temperature, ...options, seed },
      }));
      expect([...new Set(await nextTokens(asks))].sort((a, b) => a - b)).toEqual([7, 150, 299]);
    }
  });

  it.each([
    ['too many equals to collect', (t: number) => (t % 3 === 1 ? 2 : -1)],
    // Just below the maximum, at distances of the last bit of f32 up.
    ['too many of about the same size', (t: number) => 1 + ((t * 7919) % 30_000) * 2 ** -20],
    [
      'a peak, and the rest far below it',
      (t: number) => (t === 20_000 ? 60 : ((t * 7919) % 30_000) * 2 ** -20),
    ],
  ])('finds thresholds among %s', async (_, logit) => {
    const logits = Array.from({ length: 30_000 }, (_, t) => logit(t));
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
    for (const topK of [1, 2500, 12_345, 29_999]) {
      const least = logits[order[topK - 1]];
      const kept = Array.from(logits.keys()).filter((t) => logits[t] >= least);
      // At such a temperature all weigh the same.
      const seeds = Array.from({ length: 6 }, (_, seed) => seed);
      const want = seeds.map((seed) => kept[Math.floor(drawUniform(seed, 0, 1) * kept.length)]);
      const choose = (options: SamplingOptions) =>
        nextTokens(seeds.map((seed) => ({ logits, options: { temperature: 1e12, ...options, seed } })));
      expect(await choose({ topK })).toEqual(want);
      expect(await choose({ topP: (topK - 0.5) / logits.length })).toEqual(want);
    }
  });

  it('top_p counts the mass that top_k left', async () => {
    const logits = new Array(300).fill(0).with(40, 1).with(200, 0.8);
    const options = { temperature, topK: 2, topP: 0.5 };
    const asks = Array.from({ length: 40 }, (_, seed) => ({ logits, options: { ...options, seed } }));
    expect(new Set(await nextTokens(asks))).toEqual(new Set([40]));
  });

  it('a top_k beyond the vocabulary keeps all', async () => {
    const logits = bell(100, seededRandom(5));
    const choose = (topK: number) =>
      nextTokens(Array.from({ length: 40 }, (_, seed) => ({ logits, options: { temperature, topK, seed } })));
    const all = await choose(0);
    expect(await choose(100)).toEqual(all);
    expect(await choose(2 ** 32 - 1)).toEqual(all);
  });

  it('penalises seen tokens of either sign', async () => {
    const options = { repetitionPenalty: 2 };
    expect(
      await nextTokens([
        { logits: [1, 4, 3, 0], options, seen: [1] },
        { logits: [-3, -2, -9, -3.5], options, seen: [1, 0] },
        { logits: [1, 4, 3, 0], options, seen: [0, 2, 3] },
      ]),
    ).toEqual([2, 3, 1]);
  });

  it('NaN is below everything and never drawn', async () => {
    const nan = new Array(300).fill(Number.NaN);
    const one = nan.with(299, -5);
    const few = nan.with(70, 1).with(280, 1);
    expect(await nextTokens([{ logits: nan }, { logits: one }, { logits: few }])).toEqual([0, 299, 70]);
    for (const [logits, allowed] of [
      [nan, [0]],
      [one, [299]],
      [few, [70, 280]],
    ]) {
      const options = { temperature, topK: 5, topP: 0.999, minP: 0.01, repetitionPenalty: 1.1 };
      const asks = Array.from({ length: 30 }, (_, seed) => ({
        logits,
        options: { ...options, seed },
        seen: [3],
      }));
      expect([...new Set(await nextTokens(asks))].sort((a, b) => a - b)).toEqual(allowed);
    }
  });

  it('-inf is never drawn while there is anything else, +inf always', async () => {
    const none = new Array(300).fill(Number.NEGATIVE_INFINITY);
    const some = none.map((l, t) => (t % 50 === 3 ? t / 300 : l));
    const infinite = bell(300, seededRandom(6)).with(99, Number.POSITIVE_INFINITY);
    infinite[101] = Number.POSITIVE_INFINITY;
    const choose = (logits: number[]) =>
      nextTokens(Array.from({ length: 200 }, (_, seed) => ({ logits, options: { temperature: 5, seed } })));
    expect([...new Set(await choose(some))].sort((a, b) => a - b)).toEqual([3, 53, 103, 153, 203, 253]);
    expect(new Set(await choose(none))).toEqual(new Set([0]));
    expect(new Set(await choose(none.with(0, Number.NaN)))).toEqual(new Set([1]));
    expect([...new Set(await choose(infinite))].sort((a, b) => a - b)).toEqual([99, 101]);
    expect(await nextTokens([{ logits: none }, { logits: some }, { logits: infinite }])).toEqual([
      0, 253, 99,
    ]);
  });

  it('takes the first of equals in different blocks', async () => {
    const tied = new Array(3 * PEAK_BLOCK + 5).fill(-1);
    for (const t of [PEAK_BLOCK + 9, 2 * PEAK_BLOCK, 3 * PEAK_BLOCK + 4]) tied[t] = 3;
    const edge = tied.with(PEAK_BLOCK - 1, 3);
    const last = tied.with(3 * PEAK_BLOCK + 4, 3.5);
    const zeros = tied.map((l) => (l === 3 ? 0 : -1)).with(PEAK_BLOCK + 9, -0);
    expect(await nextTokens([tied, edge, last, zeros].map((logits) => ({ logits })))).toEqual([
      PEAK_BLOCK + 9,
      PEAK_BLOCK - 1,
      3 * PEAK_BLOCK + 4,
      PEAK_BLOCK + 9,
    ]);
  });

  it('penalises a peak, which another of its block or of another block then exceeds', async () => {
    const options = { repetitionPenalty: 2 };
    const peak = PEAK_BLOCK + 700;
    const logits = new Array(2 * PEAK_BLOCK + 1)
      .fill(-1)
      .with(peak, 8)
      .with(peak + 40, 5);
    const other = logits.with(3, 6);
    const negative = new Array(2 * PEAK_BLOCK + 1)
      .fill(-4)
      .with(peak, -3)
      .with(2 * PEAK_BLOCK, -3.5);
    expect(
      await nextTokens([
        { logits, options },
        { logits, options, seen: [peak] },
        { logits: other, options, seen: [peak] },
        { logits: other, options, seen: [peak, 3] },
        { logits: negative, options, seen: [peak] },
      ]),
    ).toEqual([peak, peak + 40, 3, peak + 40, 2 * PEAK_BLOCK]);
  });

  it('passes over blocks of NaN and -inf', async () => {
    const { NaN: nan, NEGATIVE_INFINITY: none } = Number;
    const vocab = 3 * PEAK_BLOCK - 1;
    const asks = (options: SamplingOptions): Ask[] => {
      const all = new Array(vocab).fill(nan);
      const some = all.with(2 * PEAK_BLOCK + 5, none);
      return [all, some, some.with(PEAK_BLOCK, none), some.with(vocab - 1, -9)].map((logits) => ({
        logits,
        options,
      }));
    };
    const want = [0, 2 * PEAK_BLOCK + 5, PEAK_BLOCK, vocab - 1];
    expect(await nextTokens(asks({}))).toEqual(want);
    expect(await nextTokens(asks({ temperature, topK: 3, topP: 0.9, minP: 0.1 }))).toEqual(want);
  });

  it('draws from few tokens in few blocks as from all', async () => {
    const random = seededRandom(7);
    const vocab = 9 * PEAK_BLOCK + 3;
    const kept = [5, PEAK_BLOCK - 1, PEAK_BLOCK, 4 * PEAK_BLOCK + 77, vocab - 1];
    const logits = bell(vocab, random).map((l) => l / 2);
    for (const [i, t] of kept.entries()) logits[t] = 20 + i / 8;
    for (const options of [{ topK: kept.length }, { topP: 0.999 }, { topK: 9, topP: 0.99 }, { minP: 0.1 }]) {
      const asks = Array.from({ length: 40 }, (_, seed) => ({
        logits,
        options: { temperature, repetitionPenalty: seed % 2 === 0 ? 1 : 1.01, ...options, seed },
        seen: kept.slice(1, 3),
      }));
      expect([...new Set(await nextTokens(asks))].sort((a, b) => a - b)).toEqual(kept);
    }
  });

  it('reads nothing but the peaks of greedy rows', async () => {
    if (gpu === undefined || pipelines === undefined) return;
    const p = { rows: 1, vocab: 5000, logitsStride: 5000, sequences: 1, peaks: true };
    const { bytes } = makeCase(sample, p, 1);
    const peaks = encodeValues('u32', Uint32Array.of(9, 1, 12, 2500, 12, 4900));
    const { next_tokens } = await runKernel(gpu, pipelines, sample, p, PLAIN, { ...bytes, peaks });
    expect([...new Uint32Array(next_tokens.buffer)]).toEqual([2500]);
  });
});
