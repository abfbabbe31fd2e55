/** The shipped model against PyTorch (float32) and the Python tokenizers library; see weights/stories/README.md. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/runtime/load_model.ts';
import type { Model } from '../../src/runtime/model.ts';
import { perplexity, textTokens } from '../../src/runtime/perplexity.ts';
import { loadTokenizer, type TextCodec } from '../../src/runtime/text.ts';
import { decodeUtf8 } from '../../src/weights/source.ts';
import { directorySource } from '../../src/weights/source_node.ts';
import { fixture, readFixture, readTensors } from '../golden.ts';
import { gpu } from '../harness.ts';

const STORIES = fileURLToPath(new URL('../../weights/stories', import.meta.url));

interface TokenizerCase {
  readonly text: string;
  readonly ids: number[];
  readonly decoded: string;
}

describe('tokenizer of weights/stories', () => {
  let codec: TextCodec;
  let cases: TokenizerCase[];
  beforeAll(async () => {
    codec = (await loadTokenizer(directorySource(STORIES), 4096)) as TextCodec;
    const file = JSON.parse(decodeUtf8('cases', await readFixture('stories/tokenizer-cases.json')));
    cases = Array.isArray(file) ? file : file.cases;
  });

  it('encodes and decodes 1,000 random and hostile strings as the Python library does', () => {
    expect(cases.length).toBeGreaterThanOrEqual(1000);
    const wrong = cases.filter(
      ({ text, ids, decoded }) =>
        JSON.stringify(codec.encode(text)) !== JSON.stringify(ids) || codec.decode(ids) !== decoded,
    );
    expect(wrong.slice(0, 5)).toEqual([]);
  });
});

/** Reference logits at chosen positions of 20 validation documents. */
async function reference(): Promise<{
  ids: number[][];
  positions: number[][];
  logits: Float32Array;
  vocab: number;
}> {
  const tensors = await readTensors('stories/logits.safetensors');
  const rows = (name: string) => {
    const [count, width] = tensors.shape(name);
    const values = tensors.i32(name);
    return Array.from({ length: count }, (_, i) => [...values.subarray(i * width, (i + 1) * width)]);
  };
  const lengths = tensors.i32('lengths');
  const [step] = tensors.f32('logit_step');
  return {
    ids: rows('input_ids').map((row, i) => row.slice(0, lengths[i])),
    positions: rows('positions'),
    logits: Float32Array.from(new Int16Array(tensors.bytes('logits').buffer), (steps) => steps * step),
    vocab: tensors.shape('logits')[2],
  };
}

describe.skipIf(gpu === undefined)('weights/stories on the GPU', () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(STORIES, {
      kv: 'f32',
      matrixUnits: false,
      maxContext: 1024,
      selfTest: false,
      adapter: process.env.STEP3_ADAPTER,
    });
  });
  afterAll(() => model?.dispose());

  it('logits of 20 validation documents equal those of PyTorch within 2e-2', async () => {
    const { ids, positions, logits, vocab } = await reference();
    expect(ids.length).toBe(20);
    let worst = 0;
    for (const [doc, tokens] of ids.entries()) {
      const [got] = await model.logits([tokens]);
      for (const [i, position] of positions[doc].entries()) {
        const want = logits.subarray((doc * positions[doc].length + i) * vocab);
        for (let v = 0; v < vocab; v++)
          worst = Math.max(worst, Math.abs(got[position * vocab + v] - want[v]));
      }
    }
    expect(worst).toBeLessThanOrEqual(2e-2);
  });

  it('perplexity of held-out stories is that of PyTorch within 0.1 %', async () => {
    const want = JSON.parse(await readFile(fixture('stories/perplexity.json'), 'utf8'));
    const text = await readFile(fixture('stories/valid-sample.txt'), 'utf8');
    expect(textTokens(model, text).tokens).toEqual(want.input_ids);
    const got = await perplexity(model, text);
    expect(got.predicted).toBe(want.predicted);
    expect(Math.abs(got.perplexity / want.perplexity - 1)).toBeLessThanOrEqual(1e-3);
  });
});
