import { describe, expect, it } from 'vitest';
import { preset } from '../../src/config/index.ts';
import { type LoadOptions, loadModel } from '../../src/runtime/load_model.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { readGolden } from '../golden.ts';
import { gpu } from '../harness.ts';
import { reference35 } from '../reference35.ts';

const CONFIG = preset('step35-tiny');
const TOKENS = Array.from({ length: 150 }, (_, i) => (i * 53 + 7) % 256);

const far = (got: ArrayLike<number>, want: readonly number[][]) =>
  want
    .flat()
    .reduce(
      (most, value, i) => Math.max(most, Math.abs(value - got[i])),
      got.length === want.flat().length ? 0 : 1,
    );

const open = (options: LoadOptions = {}) =>
  loadModel(syntheticCheckpoint(CONFIG, 21, 'f32'), {
    device: 'cpu',
    kv: 'f32',
    selfTest: false,
    maxContext: 256,
    ...options,
  });

describe('Step-3.5-Flash by its definition', () => {
  it('the definition gives the published reference logits', async () => {
    const golden = await readGolden('step35-tiny');
    const checkpoint = await openCheckpoint(golden.source);
    const { logits } = await reference35(checkpoint, golden.tokens);
    await checkpoint.close();
    expect(far(golden.logits, logits)).toBeLessThanOrEqual(5e-5);
  });

  it('a text beyond its window, in any chunks: rings of one and of several pages', async () => {
    const { logits } = await reference35(syntheticCheckpoint(CONFIG, 21, 'f32'), TOKENS);
    for (const chunk of [1, 16, 17, 40, 256]) {
      const model = await open({ chunk });
      const [got] = await model.logits([TOKENS]);
      expect(far(got, logits), `chunks of ${chunk}`).toBeLessThanOrEqual(1e-4);
      const each = Math.min(4, Math.ceil((CONFIG.sliding_window - 1 + chunk) / 64));
      expect(model.pages.ring.pages).toBe(each);
      model.dispose();
    }
  });

  it.skipIf(gpu === undefined)('the same on the GPU: prefill and decode in a ring of one page', async () => {
    const { logits } = await reference35(syntheticCheckpoint(CONFIG, 21, 'f32'), TOKENS);
    const model = await open({ device: 'gpu', adapter: process.env.STEP3_ADAPTER, chunk: 16 });
    try {
      expect(model.pages.ring.pages).toBe(1);
      for (const mode of ['prefill', 'decode'] as const) {
        const [got] = await model.logits([TOKENS], { mode });
        expect(far(got, logits), mode).toBeLessThanOrEqual(2e-4);
      }
    } finally {
      model.dispose();
    }
  });

  it('blocks draft what the definition says', async () => {
    const checkpoint = syntheticCheckpoint(CONFIG, 21, 'f32');
    const { drafts, logits } = await reference35(checkpoint, TOKENS);
    const model = await open({ chunk: 64, draft: 3 });
    try {
      const V = CONFIG.vocab_size;
      const tokens = TOKENS.slice(0, 60);
      const places = tokens.flatMap((_, t) => [0, t]);
      const trunk = await model.prefillPlan(tokens.length, tokens.length, { kind: 'all' });
      model.writePages(0, model.pages.take(64));
      model.write('token_ids', tokens);
      model.write('places', places);
      const words = await model.step(trunk, { slot: 'logits', bytes: tokens.length * V * 4 });
      expect(far(new Float32Array(words.buffer), logits.slice(0, 60))).toBeLessThanOrEqual(1e-4);
      for (const [block, want] of drafts.entries()) {
        const plan = await model.draftPlan(block, tokens.length, tokens.length, tokens.length);
        model.write('draft_ids', TOKENS.slice(block + 1, block + 61));
        model.write(
          'picks',
          places.filter((_, i) => i % 2 === 1),
        );
        const read = await model.step(plan, { slot: 'logits', bytes: tokens.length * V * 4 });
        expect(far(new Float32Array(read.buffer), want.slice(0, 60)), `block ${block}`).toBeLessThanOrEqual(
          1e-4,
        );
      }
    } finally {
      model.dispose();
    }
  });
});
