/** Logits at every position of given sequences, by any of the ways in which a model can be fed. */
import { InputError } from '../errors.ts';
import { padRow } from '../tensor.ts';
import type { Model } from './model.ts';
import type { SequencePages } from './pages.ts';
import { prepareChunk, promptTokens } from './prefill.ts';

/** How the tokens are fed. */
export interface LogitsOptions {
  /** `prefill`: chunks of the model's own size; `chunked`: of `chunk` tokens; `decode`: one token a step. */
  readonly mode?: 'prefill' | 'chunked' | 'decode' | undefined;
  readonly chunk?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Most bytes of logits of one step. */
const LOGIT_BYTES = 64 * 1024 * 1024;

/** See {@link Model.logits}. @internal */
export async function logits(
  model: Model,
  sequences: readonly (readonly number[])[],
  options: LogitsOptions,
): Promise<Float32Array<ArrayBuffer>[]> {
  const { mode = 'prefill', chunk = model.chunk } = options;
  if (!Number.isInteger(chunk) || chunk < 1) throw new InputError('chunk', 'an integer >= 1', chunk);
  if (sequences.length < 1 || sequences.length > model.maxBatch) {
    throw new InputError('sequences', `1 to ${model.maxBatch} sequences`, sequences.length);
  }
  for (const tokens of sequences) model.checkTokens(tokens, 0);
  const release = await model.exclusive();
  const owned: SequencePages[] = [];
  try {
    for (const tokens of sequences) owned.push(model.pages.take(tokens.length));
    const V = model.config.vocab_size;
    const out = sequences.map((tokens) => new Float32Array(tokens.length * V));
    if (mode === 'decode') await decodeAll(model, sequences, owned, out, options);
    else
      await prefillAll(model, sequences, owned, Math.min(chunk, logitRows(V), model.together), out, options);
    return out;
  } finally {
    for (const pages of owned) model.pages.release(pages);
    release();
  }
}

/** Positions whose logits fit into one step's buffer. */
function logitRows(vocab: number): number {
  return Math.max(1, Math.floor(LOGIT_BYTES / (padRow(vocab) * 4)));
}

async function prefillAll(
  model: Model,
  sequences: readonly (readonly number[])[],
  pages: readonly SequencePages[],
  chunk: number,
  out: readonly Float32Array[],
  options: LogitsOptions,
): Promise<void> {
  const tokens = promptTokens(sequences);
  for (let begin = 0; begin < tokens.length; begin += chunk) {
    const part = tokens.slice(begin, begin + chunk);
    const { plan } = await prepareChunk(model, part, 'all');
    // The first plan makes the slot.
    if (begin === 0) for (const [s, list] of pages.entries()) model.writePages(s, list);
    const rows = await readLogits(model, plan, part.length);
    for (const [row, t] of part.entries()) rows(row, out[t.sequence], t.position);
    options.onProgress?.(begin + part.length, tokens.length);
  }
}

async function decodeAll(
  model: Model,
  sequences: readonly (readonly number[])[],
  pages: readonly SequencePages[],
  out: readonly Float32Array[],
  options: LogitsOptions,
): Promise<void> {
  const B = sequences.length;
  const steps = Math.max(...sequences.map((tokens) => tokens.length));
  // The first plan makes the slots.
  await model.decodePlan(B, 1);
  for (const [s, list] of pages.entries()) model.writePages(s, list);
  model.write(
    'row_sequences',
    sequences.map((_, s) => s),
  );
  for (let step = 0; step < steps; step++) {
    const plan = await model.decodePlan(B, step + 1);
    // A sequence that has ended feeds its last token again, which changes nothing.
    const at = sequences.map((tokens) => Math.min(step, tokens.length - 1));
    model.write(
      'next_tokens',
      sequences.map((tokens, s) => tokens[at[s]]),
    );
    model.write(
      'next_places',
      sequences.flatMap((_, s) => [s, at[s]]),
    );
    const rows = await readLogits(model, plan, B);
    for (let s = 0; s < B; s++) rows(s, out[s], at[s]);
    options.onProgress?.(step + 1, steps);
  }
}

/** Runs a step and returns a function that copies one row of its logits to a position of a result. */
async function readLogits(
  model: Model,
  plan: Awaited<ReturnType<Model['decodePlan']>>,
  rows: number,
): Promise<(row: number, to: Float32Array, position: number) => void> {
  const V = model.config.vocab_size;
  const stride = padRow(V);
  const words = await model.step(plan, { slot: 'logits', bytes: rows * stride * 4 });
  const values = new Float32Array(words.buffer);
  return (row, to, position) => {
    to.set(values.subarray(row * stride, row * stride + V), position * V);
  };
}
