import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, vi } from 'vitest';
import { preset } from '../../src/config/index.ts';
import { DeviceLostError, InputError } from '../../src/errors.ts';
import { Pace } from '../../src/model/pace.ts';
import type { GenerateOptions } from '../../src/runtime/generate.ts';
import type { GpuExecutor } from '../../src/runtime/gpu_executor.ts';
import { loadModel } from '../../src/runtime/load_model.ts';
import type { Model } from '../../src/runtime/model.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { collect } from '../generated.ts';
import { readGolden } from '../golden.ts';
import { gpu } from '../harness.ts';

const adapter = process.env.STEP3_ADAPTER;

/** Greedy continuation by asking for logits again and again. */
async function greedy(model: Model, prompt: readonly number[], count: number): Promise<number[]> {
  const tokens = [...prompt];
  for (let i = 0; i < count; i++) {
    const [logits] = await model.logits([tokens]);
    const last = logits.subarray(logits.length - model.config.vocab_size);
    tokens.push(last.reduce((best, value, t) => (value > last[best] ? t : best), 0));
  }
  return tokens.slice(prompt.length);
}

for (const device of ['gpu', 'cpu'] as const) {
  describe.skipIf(device === 'gpu' && gpu === undefined)(`generation (${device})`, () => {
    const load = (extra = {}) =>
      readGolden('step3-tiny').then(async (golden) => ({
        golden,
        model: await loadModel(golden.folder, {
          device,
          adapter,
          selfTest: false,
          kv: 'f32',
          maxBatch: 3,
          maxContext: 128,
          chunk: 16,
          ...extra,
        }),
      }));

    it('greedy equals the argmax of the logits, alone and in a ragged batch', async () => {
      const { golden, model } = await load();
      const prompts = [golden.tokens.slice(0, 20), golden.tokens.slice(4, 5), golden.tokens.slice(0, 33)];
      const want = [];
      for (const prompt of prompts) want.push(await greedy(model, prompt, 8));
      expect((await collect(model, [prompts[0]], { maxTokens: 8 })).tokens).toEqual([want[0]]);
      const { tokens, summary } = await collect(model, prompts, { maxTokens: 8 });
      expect(tokens).toEqual(want);
      expect(summary).toMatchObject({
        promptTokens: 54,
        newTokens: 24,
        finish: ['length', 'length', 'length'],
      });
      model.dispose();
    });

    it('steps that are submitted together give the same text, whatever ends a sequence', async () => {
      const { golden, model } = await load();
      // Of these, the first reaches the end of the context while the others go on, the last stops at a token.
      const prompts = [golden.tokens.slice(0, 33), golden.tokens.slice(4, 5), golden.tokens.slice(0, 20)];
      const sampled = { maxTokens: 100, temperature: 1, seed: 5, topK: 40 };
      const alone = await collect(model, prompts, sampled);
      const stop = alone.tokens[2][6];
      const ends = { ...sampled, stopTokens: [stop] };
      const want = await collect(model, prompts, ends);
      expect(want.summary.finish[0]).toBe(want.tokens[0].includes(stop) ? 'stop' : 'length');
      for (const together of [2, 3, 8]) {
        const pace = vi.spyOn(Pace.prototype, 'together', 'get').mockReturnValue(together);
        const runs = vi.spyOn(model.executor, 'runAll');
        try {
          const got = await collect(model, prompts, ends);
          expect(got.tokens, `${together} together`).toEqual(want.tokens);
          expect(got.summary.finish).toEqual(want.summary.finish);
          expect(got.summary.stepMs.every((ms) => ms >= 0)).toBe(true);
          const most = Math.max(...runs.mock.calls.map(([steps]) => steps.length));
          expect(most).toBe(model.executor.depth > 1 ? together : 1);
        } finally {
          pace.mockRestore();
          runs.mockRestore();
        }
      }
      model.dispose();
    });

    it('the same seed gives the same text, another seed another', async () => {
      const { golden, model } = await load();
      const options = { maxTokens: 12, temperature: 1, topK: 50, topP: 0.95 };
      const prompt = [golden.tokens.slice(0, 9)];
      const first = await collect(model, prompt, { ...options, seed: 7 });
      expect((await collect(model, prompt, { ...options, seed: 7 })).tokens).toEqual(first.tokens);
      expect((await collect(model, prompt, { ...options, seed: 8 })).tokens).not.toEqual(first.tokens);
      model.dispose();
    });

    it('stop tokens end a sequence while the others go on', async () => {
      const { golden, model } = await load();
      const prompts = [golden.tokens.slice(0, 20), golden.tokens.slice(4, 5)];
      const free = await collect(model, prompts, { maxTokens: 10 });
      const stop = free.tokens[0][2];
      const { tokens, summary } = await collect(model, prompts, { maxTokens: 10, stopTokens: [stop] });
      const until = (list: number[]) => (list.includes(stop) ? list.slice(0, list.indexOf(stop) + 1) : list);
      expect(tokens).toEqual(free.tokens.map(until));
      expect(summary.finish[0]).toBe('stop');
      model.dispose();
    });

    it('a sequence at the end of its context stops there, and the others are not disturbed', async () => {
      const { golden, model } = await load({ maxContext: 64 });
      const long = [...golden.tokens, ...golden.tokens].slice(0, 60);
      const short = golden.tokens.slice(0, 6);
      const alone = await collect(model, [short], { maxTokens: 40 });
      const { tokens, summary } = await collect(model, [long, short], { maxTokens: 40 });
      expect(summary.finish).toEqual(['length', 'length']);
      expect(tokens[0].length).toBe(4);
      expect(tokens[1]).toEqual(alone.tokens[0]);
      model.dispose();
    });

    it('refuses what cannot be served, and stays usable', async () => {
      const { golden, model } = await load();
      const bad: [readonly (readonly number[])[], GenerateOptions][] = [
        [[[]], {}],
        [[[101]], {}],
        [[[-1]], {}],
        [[[1.5]], {}],
        [[Array.from({ length: 128 }, () => 1)], {}],
        [[], {}],
        [[[1], [1], [1], [1]], {}],
        [[[1]], { temperature: -1 }],
        [[[1]], { topP: 0 }],
        [[[1]], { seed: -1 }],
        [[[1]], { maxTokens: 0 }],
        [[[1]], { stop: ['x'] }],
      ];
      for (const [prompts, options] of bad) {
        await expect(collect(model, prompts, options), JSON.stringify(options)).rejects.toBeInstanceOf(
          InputError,
        );
      }
      expect(() => model.generate('text')).toThrow(InputError);
      expect((await collect(model, [golden.tokens.slice(0, 3)], { maxTokens: 2 })).tokens[0].length).toBe(2);
      expect(model.pages.whole.free).toBe(model.pages.whole.pages);
      model.dispose();
    });

    it('plans of longer contexts are made before a step needs them, and only where one may', async () => {
      const { model } = await load({ maxContext: 512 });
      try {
        const prompt = Array.from({ length: 240 }, (_, i) => i % 100);
        const { calls } = vi.spyOn(model.executor, 'prepare').mock;
        let produced = 0;
        const made: number[] = [];
        for (const [maxTokens, plans] of [
          [16, 0],
          [24, 1],
        ]) {
          calls.length = 0;
          made.length = 0;
          produced = 0;
          for await (const _ of model.generate(prompt, { maxTokens, stopTokens: [] })) {
            produced++;
            made.push(calls.filter(([plan]) => plan.tokens === 1).length);
          }
          expect(produced).toBe(maxTokens);
          // The first token comes from the prompt, the second from the first step, behind which the other plan was begun.
          expect(made.at(-1)).toBe(plans);
          expect(made[1]).toBe(plans);
        }
      } finally {
        model.dispose();
      }
    });

    it('a plan of a longer context that cannot be made is no error until a step needs it', async () => {
      const { model } = await load({ maxContext: 512 });
      try {
        const prompt = Array.from({ length: 240 }, (_, i) => i % 100);
        const plan = model.decodePlan.bind(model);
        let asked = 0;
        model.decodePlan = (batch, context) => {
          if (context <= 256) return plan(batch, context);
          asked++;
          return Promise.reject(new InputError('context', 'a short one', context));
        };
        let produced = 0;
        await expect(async () => {
          for await (const _ of model.generate(prompt, { maxTokens: 24, stopTokens: [] })) produced++;
        }).rejects.toThrow(InputError);
        // Steps up to position 255 ran, though not all of their tokens need have come out; then the step was the second to ask.
        expect(produced).toBeGreaterThan(4);
        expect(asked).toBe(2);
        model.decodePlan = plan;
        expect((await collect(model, [prompt], { maxTokens: 24 })).tokens[0]).toHaveLength(24);
      } finally {
        model.dispose();
      }
    });

    it('leaving the loop early frees the pages', async () => {
      const { golden, model } = await load();
      for await (const _ of model.generate(golden.tokens, { maxTokens: 30, stopTokens: [] })) break;
      expect(model.pages.whole.free).toBe(model.pages.whole.pages);
      model.dispose();
    });
  });
}

describe.skipIf(gpu === undefined)('a vocabulary of many blocks', () => {
  it('gives the tokens of the CPU interpreter: greedy, penalised and drawn', async () => {
    const config = { ...preset('step3-tiny'), vocab_size: 20_001, num_hidden_layers: 2, moe_layers: [] };
    const checkpoint = syntheticCheckpoint(config, 5);
    const prompts = [[3, 19_000, 77], [20_000], Array.from({ length: 30 }, (_, i) => (i * 4001) % 20_001)];
    const results: number[][][][] = [];
    for (const device of ['cpu', 'gpu'] as const) {
      const model = await loadModel(checkpoint, {
        ...{ device, adapter, selfTest: false, kv: 'f32', maxBatch: 3, maxContext: 64 },
      });
      const found: number[][][] = [];
      for (const options of [
        {},
        { repetitionPenalty: 2 },
        { temperature: 0.9, topK: 12, topP: 0.95, repetitionPenalty: 1.2, seed: 4 },
      ])
        found.push((await collect(model, prompts, { maxTokens: 6, ...options })).tokens);
      const greedily = [];
      for (const prompt of prompts) greedily.push(await greedy(model, prompt, 6));
      expect(found[0]).toEqual(greedily);
      results.push(found);
      model.dispose();
    }
    const [cpu, onGpu] = results;
    expect(onGpu).toEqual(cpu);
  });
});

describe.skipIf(gpu === undefined)('resources (gpu)', () => {
  it('1,000 generated tokens grow neither the heap nor the GPU; dispose leaves no byte', async () => {
    const checkpoint = syntheticCheckpoint(preset('step3-tiny'), 1);
    const model = await loadModel(checkpoint, { adapter, selfTest: false, maxContext: 1200 });
    // Plans for longer contexts are made as a sequence grows; here they are made before measuring.
    for (const context of [256, 512, 1024, 1200]) await model.decodePlan(1, context);
    await collect(model, [[1, 2, 3]], { maxTokens: 30 });
    setFlagsFromString('--expose-gc');
    const collectGarbage: () => void = runInNewContext('gc');
    const heap = () => {
      collectGarbage();
      return process.memoryUsage().heapUsed;
    };
    const before = { heap: heap(), gpu: model.bytes().total };
    const { tokens } = await collect(model, [[1, 2, 3]], { maxTokens: 1000, temperature: 1 });
    expect(tokens[0].length).toBe(1000);
    expect(model.bytes().total).toBe(before.gpu);
    expect(heap() - before.heap).toBeLessThan(8 * 1024 * 1024);
    expect(before.gpu).toBeGreaterThan(checkpoint.bytes);
    model.dispose();
    expect(model.bytes().total).toBe(0);
  });

  it('losing the device ends the generation with a typed error, and a new model works', async () => {
    const golden = await readGolden('step3-tiny');
    const load = () => loadModel(golden.folder, { adapter, selfTest: false, maxContext: 128 });
    const model = await load();
    const run = model.generate(golden.tokens, { maxTokens: 50, stopTokens: [] });
    await run.next();
    (model.executor as GpuExecutor).gpu.device.destroy();
    await expect(
      (async () => {
        for await (const _ of run);
      })(),
    ).rejects.toBeInstanceOf(DeviceLostError);
    model.dispose();
    const fresh = await load();
    expect((await collect(fresh, [golden.tokens], { maxTokens: 3 })).tokens[0].length).toBe(3);
    fresh.dispose();
  });

  it('the self-test passes here and is remembered', async () => {
    const golden = await readGolden('step3-tiny');
    const known = new Set<string>();
    const store = {
      has: async (key: string) => known.has(key),
      add: async (key: string) => void known.add(key),
    };
    const model = await loadModel(golden.folder, { adapter, selfTestStore: store });
    expect(known.size).toBe(1);
    model.dispose();
  });
});
