/** Feeds prompts into the cache in chunks; several sequences share a chunk. */
import { layerClasses, type ModelConfig } from '../config/index.ts';
import type { LogitRows } from '../model/plans.ts';
import type { PreparedPlan } from './executor.ts';
import { awaitedLater } from './later.ts';
import type { Model } from './model.ts';
import type { SequencePages } from './pages.ts';
import { encodeSampling, OPTION_WORDS, type SamplingOptions } from './sampling.ts';

/** Prompt tokens per step without matrix units: more would keep a small GPU busy for long. */
export const PLAIN_CHUNK = 256;

/** The same with them, at least and at most. */
const MATRIX_CHUNK = { least: 1024, most: 4096 } as const;

/** Tokens of an expert that fill the largest tiles, so that its weights are read for many of them. */
const EACH_EXPERT = 128;

/**
 * Prompt tokens per step where nobody says otherwise, no more than the context: with matrix units as many as fill the experts'
 * tiles, on average. Where layers see a window, many sequences get fewer, as the ring of each has room for a chunk.
 */
export function promptChunk(
  config: ModelConfig,
  matrixUnits: boolean,
  { maxContext, maxBatch }: { readonly maxContext: number; readonly maxBatch: number },
): number {
  if (!matrixUnits) return Math.min(maxContext, PLAIN_CHUNK);
  const { least, most } = MATRIX_CHUNK;
  const wanted = (EACH_EXPERT * config.moe_num_experts) / config.moe_top_k;
  const rings = layerClasses(config, 0).some(({ window }) => window !== undefined);
  const room = rings ? most / 2 ** Math.ceil(Math.log2(maxBatch)) : most;
  return Math.min(maxContext, Math.max(least, Math.min(room, 2 ** Math.round(Math.log2(wanted)))));
}

/** A prompt token with its sequence and position. */
export interface PromptToken {
  readonly token: number;
  readonly sequence: number;
  readonly position: number;
  /** Whether it is the last of its prompt, so that the next token is sampled from it. */
  readonly last: boolean;
}

/** The tokens of all prompts, sequence after sequence; of each without the first ones that are `cached`. */
export function promptTokens(
  prompts: readonly (readonly number[])[],
  cached: readonly number[] = [],
): PromptToken[] {
  return prompts.flatMap((tokens, sequence) =>
    tokens
      .map((token, position) => ({ token, sequence, position, last: position === tokens.length - 1 }))
      .slice(cached[sequence] ?? 0),
  );
}

/** Writes a chunk's inputs and returns its plan; `want` says which rows get logits. */
export async function prepareChunk(
  model: Model,
  chunk: readonly PromptToken[],
  want: 'all' | 'last',
): Promise<{ plan: PreparedPlan; picked: readonly PromptToken[] }> {
  const picked = chunk.filter((t) => t.last);
  const rows: LogitRows =
    want === 'all'
      ? { kind: 'all' }
      : picked.length === 0
        ? { kind: 'none' }
        : { kind: 'picked', rows: picked.length };
  const context = Math.max(...chunk.map((t) => t.position)) + 1;
  const plan = await model.prefillPlan(chunk.length, context, rows);
  model.write(
    'token_ids',
    chunk.map((t) => t.token),
  );
  model.write(
    'places',
    chunk.flatMap((t) => [t.sequence, t.position]),
  );
  if (rows.kind === 'picked') {
    model.write(
      'picks',
      picked.map((t) => chunk.indexOf(t)),
    );
    model.write(
      'row_sequences',
      picked.map((t) => t.sequence),
    );
  }
  return { plan, picked };
}

/** Page tables, sampling options, seen tokens and places for a fresh batch; the slots are there once a plan samples. */
export function writeSequences(
  model: Model,
  prompts: readonly (readonly number[])[],
  pages: readonly SequencePages[],
  options: SamplingOptions,
): void {
  const seenWords = Math.ceil(model.config.vocab_size / 32);
  const words = new Uint32Array(prompts.length * OPTION_WORDS);
  const seen = new Uint32Array(prompts.length * seenWords);
  for (const [s, prompt] of prompts.entries()) {
    model.writePages(s, pages[s]);
    words.set(encodeSampling({ ...options, seed: (options.seed ?? 0) + s }), s * OPTION_WORDS);
    for (const token of prompt) seen[s * seenWords + (token >>> 5)] |= 1 << (token & 31);
  }
  model.write('sampling_options', words);
  model.write('seen_tokens', seen);
  // Sampling moves a place on by one: from the prompt's last position to that of the first new token.
  model.write(
    'next_places',
    prompts.flatMap((prompt, s) => [s, prompt.length - 1]),
  );
}

/** How prompts are fed. */
export interface FeedOptions {
  /** Tokens per step. */
  readonly chunk: number;
  /** Chunks that may be under way. */
  readonly depth: number;
  /** Queues the step of a chunk; resolves with its next tokens. */
  step(plan: PreparedPlan, chunk: readonly PromptToken[]): Promise<Uint32Array>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Fills the cache with prompts whose inputs {@link writeSequences} wrote. Chunks follow each other on the device; the host
 * waits only so that not too many are under way. Returns the next tokens after the last chunk: one of every sequence.
 *
 * @throws what a step throws, or the signal's reason; nothing is under way any more then.
 */
export async function feedPrompts(
  model: Model,
  tokens: readonly PromptToken[],
  { chunk, depth, step, signal }: FeedOptions,
): Promise<Uint32Array> {
  const running: Promise<Uint32Array>[] = [];
  let last: Uint32Array = new Uint32Array(0);
  try {
    for (let begin = 0; begin < tokens.length; begin += chunk) {
      const part = tokens.slice(begin, begin + chunk);
      const { plan } = await prepareChunk(model, part, 'last');
      running.push(awaitedLater(step(plan, part)));
      if (running.length >= depth) last = (await running.shift()) ?? last;
      signal?.throwIfAborted();
    }
    while (running.length > 0) last = (await running.shift()) ?? last;
  } finally {
    await Promise.allSettled(running);
  }
  return last;
}
