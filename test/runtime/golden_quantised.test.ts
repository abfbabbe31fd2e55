/** The published reference logits and continuations of quantised checkpoints (see test/fixtures/README.md). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/runtime/load_model.ts';
import type { Model } from '../../src/runtime/model.ts';
import { readGolden, worst } from '../golden.ts';
import { gpu } from '../harness.ts';

/** Chunks of 7 tokens go through matvec, of 24 through matmul as whole prompts do, which spares compiling. */
const CHUNKS = {
  'step3-fp8': 7,
  'step35-awq-int4': 24,
  'step35-gguf-q8_0': 24,
  'step35-gguf-q4_k_s': 24,
};
const GOLDENS = await Promise.all(
  Object.entries(CHUNKS).map(async ([name, chunk]) => ({ name, chunk, golden: await readGolden(name) })),
);
const MODES = ['prefill', 'decode', 'chunked'] as const;

/** Largest difference of logits: activations and cache in f32. */
const LIMIT = 1e-3;

describe.each(GOLDENS)('$name', ({ chunk, golden }) => {
  const { facts } = golden;
  for (const device of ['gpu', 'cpu'] as const) {
    describe.skipIf(device === 'gpu' && gpu === undefined)(device, () => {
      let model: Model;
      beforeAll(async () => {
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

      it.each(MODES)('%s: logits within 1e-3, the same argmax', async (mode) => {
        const options = mode === 'chunked' ? { mode, chunk } : { mode };
        const [got] = await model.logits([golden.tokens], options);
        const { difference, argmaxDiffers } = worst(golden, got);
        expect(difference).toBeLessThanOrEqual(LIMIT);
        expect(argmaxDiffers).toBe(0);
      });

      it.runIf(facts !== undefined)('continues as published', async () => {
        const tokens: number[] = [];
        const run = model.generate(golden.tokens, { temperature: 0, maxTokens: 16, stopTokens: [] });
        for await (const { token } of run) tokens.push(token);
        expect(tokens).toEqual(facts?.expected_tokens);
      });

      it.runIf(facts?.tokenizer !== undefined)('encodes texts as published', () => {
        for (const { text, ids } of facts?.tokenizer ?? []) {
          expect(model.tokenizer?.encode(text)).toEqual(ids);
        }
      });
    });
  }
});
