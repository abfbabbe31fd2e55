import { describe, expect, it } from 'vitest';
import { configToJson, preset } from '../../src/config/index.ts';
import type { GenerateOptions } from '../../src/runtime/generate.ts';
import { type LoadOptions, loadModel, type ModelSource } from '../../src/runtime/load_model.ts';
import type { Model } from '../../src/runtime/model.ts';
import { encodeSafetensors } from '../../src/weights/safetensors.ts';
import { type FileSource, memorySource } from '../../src/weights/source.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import * as generated from '../generated.ts';
import { gpu } from '../harness.ts';
import { loadAll, text } from '../weights/support.ts';

const CONFIG = preset('step35-tiny');

/** Prompts that end in different chunks, and one that a window of 48 does not hold. */
const PROMPTS = [
  Array.from({ length: 70 }, (_, i) => (i * 37 + 5) % 256),
  [7],
  Array.from({ length: 20 }, (_, i) => (i * 11) % 256),
];

/**
 * A checkpoint whose next token follows from the last one alone, and whose blocks know it: no attention, no FFN, and
 * heads that are the trunk's.
 */
async function rigged(): Promise<FileSource> {
  const { hidden_size: D } = CONFIG;
  const tensors = await loadAll(syntheticCheckpoint(CONFIG, 4, 'f32'));
  const head = tensors.find(({ name }) => name === 'lm_head.weight')!;
  for (const tensor of tensors) {
    const { name } = tensor;
    if (/o_proj|down_proj|norm\.weight/.test(name)) tensor.bytes = new Uint8Array(tensor.bytes.length);
    if (name.endsWith('shared_head.output.weight')) tensor.bytes = head.bytes;
    if (!name.endsWith('eh_proj.weight')) continue;
    const embeddingOnly = new Float32Array(D * 2 * D);
    for (let i = 0; i < D; i++) embeddingOnly[i * 2 * D + i] = 1;
    tensor.bytes = new Uint8Array(embeddingOnly.buffer);
  }
  const files = new Map([
    ['config.json', text(configToJson(CONFIG))],
    ['model.safetensors', encodeSafetensors(tensors)],
  ]);
  return memorySource('rigged', files);
}

const collect = (model: Model, options: GenerateOptions, prompts: readonly number[][] = PROMPTS) =>
  generated.collect(model, prompts, options);

function open(source: ModelSource, options: LoadOptions): Promise<Model> {
  return loadModel(source, {
    adapter: process.env.STEP3_ADAPTER,
    selfTest: false,
    kv: 'f32',
    maxBatch: 3,
    maxContext: 160,
    chunk: 32,
    draft: 3,
    ...options,
  });
}

const DEVICES = [
  { device: 'cpu' },
  // Steps of different numbers of rows add up in the same order.
  ...(gpu === undefined ? [] : ([{ device: 'gpu', deterministic: true }] as const)),
] as const;

describe.each(DEVICES)('drafts on $device', (device) => {
  it('of random blocks change nothing but the number of steps', async () => {
    const model = await open(syntheticCheckpoint(CONFIG, 11, 'f32'), device);
    try {
      const plain = await collect(model, { maxTokens: 24 });
      expect(plain.summary.drafts).toBeUndefined();
      for (const draft of device.device === 'cpu' ? [1, 2, 3] : [3]) {
        const { tokens, summary } = await collect(model, { maxTokens: 24, draft });
        expect(tokens).toEqual(plain.tokens);
        expect(summary.finish).toEqual(plain.summary.finish);
        expect(summary.drafts?.drafted).toBeGreaterThan(0);
        expect(summary.drafts?.accepted).toBeLessThanOrEqual(summary.drafts?.drafted ?? 0);
      }
      expect(model.pages.whole.free).toBe(model.pages.whole.pages);
      expect(model.pages.ring.free).toBe(model.pages.ring.pages);
    } finally {
      model.dispose();
    }
  });

  it('that are right are all kept, four tokens a step', async () => {
    const model = await open(await rigged(), device);
    try {
      const plain = await collect(model, { maxTokens: 21 });
      const { tokens, summary } = await collect(model, { maxTokens: 21, draft: 3 });
      expect(tokens).toEqual(plain.tokens);
      const { drafted, accepted } = summary.drafts!;
      expect(accepted).toBe(drafted);
      expect(drafted).toBeGreaterThan(0);
      // One token from the prompt, then four a step; prompts that ended in an earlier chunk begin without drafts.
      expect(summary.stepMs.length).toBeLessThanOrEqual(6);
      const alone = await collect(model, { maxTokens: 21, draft: 3 }, [PROMPTS[0]]);
      expect(alone.summary.stepMs.length).toBe(5);
      expect(alone.summary.drafts).toEqual({ drafted: 15, accepted: 15 });
    } finally {
      model.dispose();
    }
  });
});

describe('drafts', () => {
  it('end where the text ends: at a stop token, at the length, at the context', async () => {
    const model = await open(await rigged(), { device: 'cpu', maxContext: 128 });
    try {
      const plain = await collect(model, { maxTokens: 40 }, [PROMPTS[0]]);
      const stop = plain.tokens[0][9];
      const first = plain.tokens[0].indexOf(stop);
      const stopped = await collect(model, { maxTokens: 40, draft: 3, stopTokens: [stop] }, [PROMPTS[0]]);
      expect(stopped.tokens[0]).toEqual(plain.tokens[0].slice(0, first + 1));
      expect(stopped.summary.finish).toEqual(['stop']);
      const long = PROMPTS[0].concat(PROMPTS[2], PROMPTS[2]);
      const full = await collect(model, { maxTokens: 40 }, [long]);
      const drafted = await collect(model, { maxTokens: 40, draft: 3 }, [long]);
      expect(drafted.tokens).toEqual(full.tokens);
      expect(drafted.tokens[0].length).toBe(128 - long.length);
    } finally {
      model.dispose();
    }
  });

  it('need blocks, and greedy decoding', async () => {
    await expect(open(await rigged(), { device: 'cpu', draft: 4 })).rejects.toThrow(
      /draft: expected an integer in 0..3/,
    );
    const model = await open(await rigged(), { device: 'cpu', draft: 1 });
    try {
      await expect(model.generate([1], { draft: 2 }).next()).rejects.toThrow(
        /draft: expected an integer in 0..1/,
      );
      await expect(model.generate([1], { draft: 1, temperature: 1 }).next()).rejects.toThrow(/greedy/);
      await expect(model.generate([1], { draft: 1, repetitionPenalty: 2 }).next()).rejects.toThrow(/greedy/);
    } finally {
      model.dispose();
    }
  });
});
