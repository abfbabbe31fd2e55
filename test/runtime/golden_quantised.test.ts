/** The published reference logits and continuations of quantised checkpoints (see test/fixtures/README.md). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/runtime/load_model.ts';
import type { Model } from '../../src/runtime/model.ts';
import { type Golden, readGolden, worst } from '../golden.ts';
import { gpu } from '../harness.ts';

const MODELS = ['step3-fp8', 'step35-awq-int4', 'step35-gguf-q8_0', 'step35-gguf-q4_k_s'];
const MODES = [{ mode: 'prefill' }, { mode: 'decode' }, { mode: 'chunked', chunk: 7 }] as const;

/** Largest difference of logits: activations and cache in f32. */
const LIMIT = 1e-3;

describe.each(MODELS)('%s', (name) => {
  describe.each(['gpu', 'cpu'] as const)('%s', (device) => {
    if (device === 'gpu' && gpu === undefined) {
      it.skip('no adapter');
      return;
    }
    let golden: Golden;
    let model: Model;
    beforeAll(async () => {
      golden = await readGolden(name);
      model = await loadModel(golden.source, {
        device,
        kv: 'f32',
        matrixUnits: false,
        selfTest: false,
        maxContext: 128,
        adapter: process.env.STEP3_ADAPTER,
      });
    });
    afterAll(() => model?.dispose());

    it.each(MODES)('$mode: logits within 1e-3, the same argmax', async (options) => {
      const [got] = await model.logits([golden.tokens], options);
      const { difference, argmaxDiffers } = worst(golden, got);
      console.log(
        'DIFF',
        name,
        device,
        JSON.stringify(options),
        difference,
        Math.round(process.cpuUsage().user / 1000),
        Math.round(performance.now()),
      );
      expect(difference).toBeLessThanOrEqual(LIMIT);
      expect(argmaxDiffers).toBe(0);
    });

    it('continues as published', async () => {
      const expected = golden.facts?.expected_tokens;
      if (expected === undefined) return;
      const tokens: number[] = [];
      const run = model.generate(golden.tokens, { temperature: 0, maxTokens: 16, stopTokens: [] });
      for await (const { token } of run) tokens.push(token);
      expect(tokens).toEqual(expected);
    });

    it('encodes texts as published', () => {
      for (const { text, ids } of golden.facts?.tokenizer ?? []) {
        expect(model.tokenizer?.encode(text)).toEqual(ids);
      }
    });
  });
});
