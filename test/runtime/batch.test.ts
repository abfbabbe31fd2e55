import { describe, expect, it } from 'vitest';
import { loadModel } from '../../src/runtime/load_model.ts';
import { readGolden } from '../golden.ts';
import { gpu } from '../harness.ts';

const options = {
  selfTest: false,
  adapter: process.env.STEP3_ADAPTER,
  kv: 'f32',
  matrixUnits: false,
  maxBatch: 5,
  maxContext: 256,
} as const;

/** Five sequences of different lengths cut from the reference tokens. */
function ragged(tokens: readonly number[]): number[][] {
  return [
    tokens.slice(0, 40),
    tokens.slice(3, 4),
    tokens.slice(5, 22),
    [...tokens.slice(0, 40), ...tokens.slice(0, 30)],
    tokens.slice(10, 19),
  ];
}

function largest(a: Float32Array, b: Float32Array): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}

const sameBits = (a: Float32Array, b: Float32Array) =>
  Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)) === 0;

describe.skipIf(gpu === undefined).each(['step3-tiny', 'step35-tiny'])('batches of %s', (name) => {
  it('five ragged sequences give the logits of each alone within 1e-4', async () => {
    const golden = await readGolden(name);
    const sequences = ragged(golden.tokens);
    const model = await loadModel(golden.source, options);
    try {
      for (const mode of ['prefill', 'decode'] as const) {
        const together = await model.logits(sequences, { mode });
        for (const [s, tokens] of sequences.entries()) {
          const [alone] = await model.logits([tokens], { mode });
          expect(largest(together[s], alone), `${mode}, sequence ${s}`).toBeLessThanOrEqual(1e-4);
        }
      }
    } finally {
      model.dispose();
    }
  });

  it('deterministic: bit for bit the same alone, in a batch, in any chunks, on other pages, and again', async () => {
    const golden = await readGolden(name);
    const sequences = ragged(golden.tokens);
    const model = await loadModel(golden.source, { ...options, deterministic: true });
    try {
      const want: Float32Array[] = [];
      for (const tokens of sequences) want.push((await model.logits([tokens]))[0]);
      for (const run of [
        { mode: 'prefill' },
        { mode: 'prefill' },
        { mode: 'decode' },
        { mode: 'chunked', chunk: 7 },
        { mode: 'chunked', chunk: 16 },
        { mode: 'chunked', chunk: 1 },
      ] as const) {
        const got = await model.logits(sequences, run);
        got.forEach((logits, s) => {
          expect(sameBits(logits, want[s]), `${JSON.stringify(run)}, sequence ${s}`).toBe(true);
        });
      }
      // Another owner of the first pages moves the sequence to others.
      const held = model.pages.take(64 * 3);
      const [moved] = await model.logits([sequences[3]]);
      model.pages.release(held);
      expect(sameBits(moved, want[3])).toBe(true);
    } finally {
      model.dispose();
    }
    const again = await loadModel(golden.source, { ...options, deterministic: true });
    const first = (await again.logits([sequences[0]], { mode: 'decode' }))[0];
    const second = (await again.logits([sequences[0]], { mode: 'prefill' }))[0];
    again.dispose();
    expect(sameBits(first, second)).toBe(true);
  });
});
