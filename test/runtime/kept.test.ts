/** Pages that outlast their generation, and prompts that go on from them. */
import { describe, expect, it } from 'vitest';
import { preset } from '../../src/config/index.ts';
import { InputError } from '../../src/errors.ts';
import type { GenerateOptions } from '../../src/runtime/generate.ts';
import { type LoadOptions, loadModel } from '../../src/runtime/load_model.ts';
import type { Model } from '../../src/runtime/model.ts';
import { CachePages } from '../../src/runtime/pages.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import * as generated from '../generated.ts';
import { readGolden } from '../golden.ts';
import { gpu } from '../harness.ts';

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

describe('pages of a cache', () => {
  const whole = () => new CachePages({ pages: 8 });
  const keep = (pages: CachePages, tokens: number[], written = tokens.length, draft = 0) =>
    pages.keep({ pages: pages.take(written), tokens, written, draft });

  it('go on in the sequence that has most in common, which is kept no longer', () => {
    const pages = whole();
    keep(pages, numbers(70));
    keep(pages, numbers(100));
    expect(pages.whole.free).toBe(4);
    const resumed = pages.resume([...numbers(90), 7, 7], 200, 0);
    expect(resumed.cached).toBe(90);
    expect(resumed.pages.whole).toHaveLength(4);
    expect(pages.whole.free).toBe(2);
    expect(pages.resume(numbers(90), 100, 0).cached).toBe(70);
    expect(pages.resume(numbers(90), 100, 0).cached).toBe(0);
  });

  it('leave the last token of a prompt to be computed', () => {
    const pages = whole();
    keep(pages, numbers(40));
    expect(pages.resume(numbers(40), 64, 0).cached).toBe(39);
  });

  it('leave a sequence alone of which less than half is in common, or none', () => {
    for (const prompt of [[...numbers(49), 7, 7], [5, ...numbers(99)], [0]]) {
      const pages = whole();
      keep(pages, numbers(100));
      expect(pages.resume(prompt, 128, 0).cached).toBe(0);
      expect(pages.whole.free).toBe(4);
      expect(pages.resume([...numbers(50), 7], 128, 0).cached).toBe(50);
    }
  });

  it('go on only where as many blocks drafted along', () => {
    const pages = whole();
    keep(pages, numbers(40), 40, 1);
    expect(pages.resume(numbers(41), 64, 2).cached).toBe(0);
    expect(pages.resume(numbers(41), 64, 1).cached).toBe(40);
  });

  it('that are not needed go back: beyond what was read, and beyond what comes', () => {
    const pages = whole();
    pages.keep({ pages: pages.take(500), tokens: numbers(300), written: 310, draft: 0 });
    expect(pages.whole.free).toBe(3);
    const { pages: own } = pages.resume(numbers(160), 170, 0);
    expect(own.whole).toHaveLength(3);
    expect(pages.whole.free).toBe(5);
    pages.release(own);
    expect(pages.whole.free).toBe(8);
  });

  it('are taken from kept sequences, the oldest first, and no more of them than must be', () => {
    const pages = whole();
    for (const first of [1000, 2000, 3000]) keep(pages, numbers(128, first));
    const held = pages.take(64 * 4);
    expect(pages.whole.free).toBe(0);
    pages.release(held);
    for (const [first, cached] of [
      [1000, 0],
      [2000, 128],
      [3000, 128],
    ]) {
      const { pages: own, cached: found } = pages.resume(numbers(129, first), 129, 0);
      expect(found).toBe(cached);
      pages.release(own);
    }
  });

  it('are all there after a refusal, those of a sequence that would have gone on too', () => {
    const pages = whole();
    const held = pages.take(64 * 5);
    keep(pages, numbers(128));
    expect(() => pages.resume(numbers(129), 64 * 4, 0)).toThrow(InputError);
    expect(pages.whole.free).toBe(3);
    pages.release(held);
    expect(pages.whole.free).toBe(8);
  });

  it('of a ring serve while it holds what the next position looks back at', () => {
    const ring = { pagesEach: 2, pages: 2, window: 48 };
    // Of 200 positions the ring holds 72 to 199; position 119 looks back at 72.
    for (const [next, cached] of [
      [119, 119],
      [118, 0],
    ]) {
      const pages = new CachePages({ pages: 8, ring });
      keep(pages, numbers(190), 200);
      expect(pages.ring.free).toBe(0);
      expect(pages.resume([...numbers(next), 999, 999], 256, 0).cached).toBe(cached);
      expect(pages.ring.free).toBe(0);
    }
    // Before it has wrapped around, it has everything.
    const pages = new CachePages({ pages: 8, ring });
    keep(pages, numbers(100), 128);
    expect(pages.resume([...numbers(50), 999], 256, 0).cached).toBe(50);
  });
});

/** A generation of 12 tokens, unless the options say otherwise. */
async function collect(model: Model, prompt: readonly number[], options: GenerateOptions) {
  const { tokens, summary } = await generated.collect(model, [prompt], { maxTokens: 12, ...options });
  return { tokens: tokens[0], summary };
}

const text = (count: number, step: number) => Array.from({ length: count }, (_, i) => (i * step + 7) % 97);

/** Steps of other numbers of rows add up in the same order. */
const OPTIONS: LoadOptions = {
  adapter: process.env.STEP3_ADAPTER,
  device: 'cpu',
  selfTest: false,
  kv: 'f32',
  deterministic: true,
  // A kept sequence has room beside another.
  maxBatch: 2,
  maxContext: 256,
  chunk: 16,
};

describe.each(['step3-tiny', 'step35-tiny'] as const)('turns of %s', (name) => {
  const turns = (what: string, run: (model: Model) => Promise<void>, options: LoadOptions = {}) =>
    it(what, async () => {
      const { source } = await readGolden(name);
      const model = await loadModel(source, { ...OPTIONS, ...options });
      try {
        await run(model);
      } finally {
        model.dispose();
      }
    });

  const grow = async (model: Model) => {
    let prompt = text(50, 37);
    let left = 0;
    for (const added of [20, 1, 70]) {
      const fresh = await collect(model, prompt, {});
      expect(fresh.summary.cachedTokens).toBe(0);
      const { tokens, summary } = await collect(model, prompt, { cachePrompt: true });
      expect(tokens).toEqual(fresh.tokens);
      expect(summary).toMatchObject({ promptTokens: prompt.length, cachedTokens: left });
      prompt = [...prompt, ...tokens];
      left = prompt.length - 1;
      prompt.push(...text(added, 91));
    }
  };
  turns('read only what is new, and say the same', grow);
  if (gpu !== undefined) turns('do so on the GPU', grow, { device: 'gpu' });

  turns('feed no token that is there already', async (model) => {
    const prompt = text(50, 37);
    const { tokens } = await collect(model, prompt, { cachePrompt: true });
    const fed: number[] = [];
    const plan = model.prefillPlan.bind(model);
    model.prefillPlan = (count, context, rows) => {
      fed.push(count);
      return plan(count, context, rows);
    };
    await collect(model, [...prompt, ...tokens, ...text(40, 5)], { cachePrompt: true });
    // The first chunk is planned twice, once so that no figure includes it; 41 tokens: the last one said was not computed.
    expect(fed).toEqual([16, 16, 16, 9]);
  });

  turns('go back to where they part, and give up where a ring has lost that', async (model) => {
    const prompt = text(200, 37);
    await collect(model, prompt, { cachePrompt: true });
    // A ring holds the last 64 of the 211 positions that were written: what 120 looks back at is gone.
    const windows = model.pages.ring.pages > 0;
    for (const [common, cached] of [
      [190, 190],
      [120, windows ? 0 : 120],
    ]) {
      const parted = [...prompt.slice(0, common), ...text(30, 11)];
      const { tokens, summary } = await collect(model, parted, { cachePrompt: true });
      expect(summary.cachedTokens).toBe(cached);
      expect(tokens).toEqual((await collect(model, parted, {})).tokens);
      await collect(model, prompt, { cachePrompt: true });
    }
  });

  turns('go on after one that nobody listened to until its end, and one that was aborted', async (model) => {
    let prompt = text(50, 37);
    const said: number[] = [];
    const options = { cachePrompt: true, stopTokens: [], maxTokens: 60 };
    for await (const { token } of model.generate(prompt, options)) {
      said.push(token);
      if (said.length === 5) break;
    }
    prompt = [...prompt, ...said, ...text(4, 3)];
    const stop = new AbortController();
    const heard: number[] = [];
    for await (const { token } of model.generate(prompt, { ...options, signal: stop.signal })) {
      heard.push(token);
      stop.abort();
    }
    prompt = [...prompt, ...heard, ...text(4, 5)];
    const { tokens, summary } = await collect(model, prompt, { cachePrompt: true });
    expect(summary.cachedTokens).toBe(prompt.length - 4 - 1);
    expect(tokens).toEqual((await collect(model, prompt, {})).tokens);
  });

  turns(
    'give their pages to others that need them',
    async (model) => {
      const prompt = text(200, 37);
      await collect(model, prompt, { cachePrompt: true });
      expect(model.pages.whole.free).toBe(0);
      await model.logits([text(250, 11)]);
      expect(model.pages.whole.free).toBe(4);
      expect(model.pages.ring.free).toBe(model.pages.ring.pages);
      expect((await collect(model, prompt, { cachePrompt: true })).summary.cachedTokens).toBe(0);
    },
    { maxBatch: 1 },
  );

  turns('are for one prompt at a time', async (model) => {
    const run = model.generateBatch([[1], [2]], { cachePrompt: true });
    await expect(run.next()).rejects.toThrow(/cachePrompt/);
  });
});

describe('turns with drafts', () => {
  it('go on in the caches of the blocks, but not where none drafted', async () => {
    const model = await loadModel(syntheticCheckpoint(preset('step35-tiny'), 12, 'f32'), {
      ...OPTIONS,
      maxContext: 160,
      chunk: 32,
      draft: 3,
    });
    try {
      let prompt = text(50, 37);
      for (const [draft, back] of [
        [0, undefined],
        [3, undefined],
        [3, 1],
        [0, 1],
      ]) {
        const fresh = await collect(model, prompt, {});
        const { tokens, summary } = await collect(model, prompt, { cachePrompt: true, draft });
        expect(tokens).toEqual(fresh.tokens);
        expect(summary.cachedTokens).toBe(back === undefined ? 0 : prompt.length - 6 - back);
        prompt = [...prompt, ...tokens, ...text(6, 91)];
      }
    } finally {
      model.dispose();
    }
  });
});
