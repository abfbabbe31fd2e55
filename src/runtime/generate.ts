/** Generation: prefill in chunks, then decoding steps that feed themselves, several in flight. */
import { InputError } from '../errors.ts';
import { Pace } from '../model/pace.ts';
import { PlansAhead } from './ahead.ts';
import type { PreparedPlan } from './executor.ts';
import type { Model } from './model.ts';
import type { ResumedPages, SequencePages } from './pages.ts';
import { feedPrompts, type PromptToken, prepareChunk, promptTokens, writeSequences } from './prefill.ts';
import { encodeSampling, type SamplingOptions } from './sampling.ts';
import { Drafter, type DraftFigures } from './speculate.ts';
import { TextStream } from './text.ts';

/** Options of a generation. */
export interface GenerateOptions extends SamplingOptions {
  /** Most new tokens per sequence. Default 256; the context may end it earlier. */
  readonly maxTokens?: number | undefined;
  /** Texts that end a sequence; they are not part of the result. Needs a tokenizer. */
  readonly stop?: readonly string[] | undefined;
  /** Token ids that end a sequence; the checkpoint's eos_token_id when absent. */
  readonly stopTokens?: readonly number[] | undefined;
  /**
   * Draft up to so many tokens at a time with the blocks that the model was loaded with, and verify them in one step.
   * The result is that of greedy decoding, so sampling options must be those. Default 0.
   */
  readonly draft?: number | undefined;
  /**
   * Leave keys and values in the cache for the next such generation, and compute only what an earlier one has not left: for
   * prompts that grow, as those of a conversation do. One prompt at a time. Reading with other kernels rounds differently, so
   * only a deterministic model gives the same bits with and without. Default false.
   */
  readonly cachePrompt?: boolean | undefined;
  /** Ends the generation early. */
  readonly signal?: AbortSignal | undefined;
}

/** Why a sequence ended. */
export type FinishReason = 'stop' | 'length' | 'aborted';

/** One new token. */
export interface GeneratedToken {
  /** Which of the prompts. */
  readonly sequence: number;
  readonly token: number;
  /** Text that became certain with it; empty within a character, or where a stop string may begin. */
  readonly text: string;
  /** Milliseconds since the generation began. */
  readonly ms: number;
  /** On the last token of a sequence. */
  readonly finish?: FinishReason;
}

/** Closing figures. */
export interface GenerateSummary {
  readonly promptTokens: number;
  /** Those of them whose keys and values an earlier generation had left. */
  readonly cachedTokens: number;
  readonly newTokens: number;
  /** Milliseconds from the start until the first new token was on the host. */
  readonly prefillMs: number;
  /** Milliseconds between the arrivals of successive decoding steps; those that arrive together share their time evenly. */
  readonly stepMs: readonly number[];
  readonly finish: readonly FinishReason[];
  /** With drafts: what became of them. */
  readonly drafts?: DraftFigures;
}

/** Yields tokens as they come; returns the figures. */
export type Generated = AsyncGenerator<GeneratedToken, GenerateSummary, void>;

/** What is kept for each sequence. */
interface Sequence {
  readonly prompt: readonly number[];
  /** The prompt and the tokens that were taken. */
  readonly text: number[];
  /** Positions that its pages have been written at, from 0 on. */
  written: number;
  readonly finished: boolean;
  /** Positions that its pages hold. */
  readonly limit: number;
  readonly stream: TextStream | undefined;
  produced: number;
  finish: FinishReason | undefined;
}

/** See {@link Model.generateBatch}. @internal */
export async function* generate(
  model: Model,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Generated {
  const sequences = open(model, prompts, options);
  const { draft = 0, cachePrompt = false } = options;
  const release = await model.exclusive();
  const owned: ResumedPages[] = [];
  let filled = false;
  try {
    for (const { prompt, limit } of sequences) {
      // A step that verifies drafts may go beyond the last position that is wanted.
      const positions = limit + draft;
      if (cachePrompt) owned.push(model.pages.resume(prompt, positions, draft));
      else owned.push({ pages: model.pages.take(positions), cached: 0 });
    }
    const cached = owned.map((own) => own.cached);
    const tokens = promptTokens(prompts, cached);
    const drafter = draft === 0 ? undefined : new Drafter(model, draft, sequences);
    await compile(model, sequences, tokens, drafter);
    const start = performance.now();
    const stops = new Set(options.stopTokens ?? model.config.eos_token_ids);
    const deliver = (s: number, token: number): GeneratedToken | undefined => {
      const sequence = sequences[s];
      if (sequence.finish !== undefined) return undefined;
      if (drafter === undefined) sequence.text.push(token);
      return take(sequence, s, token, stops, options, performance.now() - start);
    };

    const first = await prefill(model, sequences, tokens, owned, options, drafter);
    filled = true;
    const prefillMs = performance.now() - start;
    for (const [s, token] of first.entries()) {
      const event = deliver(s, token);
      if (event !== undefined) yield event;
    }

    const stepMs: number[] = [];
    const steps =
      drafter === undefined ? decode(model, sequences, options) : decodeDrafts(sequences, drafter, options);
    for await (const { added, ms } of steps) {
      stepMs.push(ms);
      for (const [s, tokens] of added.entries()) {
        for (const token of tokens) {
          const event = deliver(s, token);
          if (event !== undefined) yield event;
        }
      }
    }
    return {
      promptTokens: prompts.reduce((sum, prompt) => sum + prompt.length, 0),
      cachedTokens: cached.reduce((sum, count) => sum + count, 0),
      newTokens: sequences.reduce((sum, s) => sum + s.produced, 0),
      prefillMs,
      stepMs,
      finish: sequences.map((s) => s.finish ?? 'aborted'),
      ...(drafter === undefined ? {} : { drafts: drafter.figures }),
    };
  } finally {
    for (const [s, { pages }] of owned.entries()) {
      if (filled && cachePrompt) leave(model, sequences[s], pages, draft);
      else model.pages.release(pages);
    }
    release();
  }
}

/** Leaves what a sequence has read and said to later prompts. */
function leave(model: Model, { text, written }: Sequence, pages: SequencePages, draft: number): void {
  // The last token may not have been computed, only chosen; drafts behind it were, and rejected.
  const tokens = text.slice(0, -1);
  model.pages.keep({ pages, tokens, written: draft > 0 ? tokens.length + draft : written, draft });
}

function open(model: Model, prompts: readonly (readonly number[])[], options: GenerateOptions): Sequence[] {
  const { maxTokens = 256, stop = [] } = options;
  if (!Number.isInteger(maxTokens) || maxTokens < 1)
    throw new InputError('maxTokens', 'an integer >= 1', maxTokens);
  if (prompts.length < 1 || prompts.length > model.maxBatch) {
    throw new InputError('prompts', `1 to ${model.maxBatch} prompts`, prompts.length);
  }
  if (stop.length > 0 && model.tokenizer === undefined) {
    throw new InputError('stop', 'no stop strings, since the checkpoint has no tokenizer.json', stop);
  }
  if (options.cachePrompt === true && prompts.length > 1) {
    throw new InputError('cachePrompt', 'one prompt', `${prompts.length} prompts`);
  }
  encodeSampling(options);
  const { draft = 0, temperature = 0, repetitionPenalty = 1 } = options;
  if (!Number.isInteger(draft) || draft < 0 || draft > model.draft) {
    throw new InputError('draft', `an integer in 0..${model.draft} (blocks that were loaded)`, draft);
  }
  if (draft > 0 && (temperature !== 0 || repetitionPenalty !== 1)) {
    throw new InputError('draft', '0 unless decoding is greedy', draft);
  }
  return prompts.map((prompt) => {
    model.checkTokens(prompt, 1);
    return {
      prompt,
      text: [...prompt],
      written: prompt.length,
      get finished() {
        return this.finish !== undefined;
      },
      limit: Math.min(prompt.length + maxTokens, model.maxContext),
      stream: model.tokenizer === undefined ? undefined : new TextStream(model.tokenizer, stop),
      produced: 0,
      finish: undefined,
    };
  });
}

/** Notes a token of a sequence: its text, and whether it was the last. */
function take(
  sequence: Sequence,
  s: number,
  token: number,
  stops: ReadonlySet<number>,
  options: GenerateOptions,
  ms: number,
): GeneratedToken {
  sequence.produced++;
  let text = '';
  if (stops.has(token)) {
    sequence.finish = 'stop';
    text = sequence.stream?.end() ?? '';
  } else {
    const pushed = sequence.stream?.push(token);
    text = pushed?.text ?? '';
    if (pushed?.stopped === true) sequence.finish = 'stop';
    else if (sequence.prompt.length + sequence.produced >= sequence.limit) sequence.finish = 'length';
    else if (options.signal?.aborted === true) sequence.finish = 'aborted';
    if (sequence.finish !== undefined && pushed?.stopped !== true) text += sequence.stream?.end() ?? '';
  }
  return {
    sequence: s,
    token,
    text,
    ms,
    ...(sequence.finish === undefined ? {} : { finish: sequence.finish }),
  };
}

/** Makes the plans of the first steps, which also makes their slots, so that no figure includes compiling. */
async function compile(
  model: Model,
  sequences: readonly Sequence[],
  tokens: readonly PromptToken[],
  drafter: Drafter | undefined,
): Promise<void> {
  const longest = Math.max(...sequences.map((s) => s.prompt.length));
  if (drafter === undefined) await model.decodePlan(sequences.length, longest + 1);
  else await drafter.prepare(longest);
  await prepareChunk(model, tokens.slice(0, model.chunk), 'last');
}

/** Fills the cache and returns the first new token of every sequence. */
async function prefill(
  model: Model,
  sequences: readonly Sequence[],
  tokens: readonly PromptToken[],
  owned: readonly ResumedPages[],
  options: GenerateOptions,
  drafter: Drafter | undefined,
): Promise<number[]> {
  writeSequences(
    model,
    sequences.map(({ prompt }) => prompt),
    owned.map(({ pages }) => pages),
    options,
  );
  const read = { slot: 'next_tokens', bytes: sequences.length * 4 };
  const step = (plan: PreparedPlan) => model.step(plan, read);
  const last = await feedPrompts(model, tokens, {
    chunk: model.chunk,
    signal: options.signal,
    ...(drafter === undefined
      ? { depth: model.executor.depth, step }
      : { depth: 1, step: async (plan, chunk) => draftChunk(drafter, sequences, chunk, await step(plan)) }),
  });
  return [...last];
}

/**
 * Fills the caches of the drafting blocks for a chunk, whose step is the only one under way: they read its hidden states,
 * and after a prompt's last position the token that was sampled there. Returns `next`, that step's next tokens.
 */
async function draftChunk(
  drafter: Drafter,
  sequences: readonly Sequence[],
  chunk: readonly PromptToken[],
  next: Uint32Array,
): Promise<Uint32Array> {
  const lasts: number[] = [];
  for (const [row, { sequence, last }] of chunk.entries()) {
    if (!last) continue;
    sequences[sequence].text.push(next[sequence]);
    lasts.push(row);
  }
  // The first drafts come at once if every prompt ends in this chunk, else after the first step.
  await drafter.draft(chunk, lasts.length === sequences.length ? lasts : []);
  return next;
}

/** What a step brought: new tokens of every sequence, and milliseconds since those of the step before. */
interface Arrival {
  readonly added: number[][];
  readonly ms: number;
}

/** Steps that verify drafts, until every sequence has ended. */
async function* decodeDrafts(
  sequences: readonly Sequence[],
  drafter: Drafter,
  options: GenerateOptions,
): AsyncGenerator<Arrival, void, void> {
  let arrived = performance.now();
  while (sequences.some((s) => !s.finished) && options.signal?.aborted !== true) {
    const added = await drafter.next();
    const now = performance.now();
    yield { added, ms: now - arrived };
    arrived = now;
  }
}

/**
 * Decoding steps until every sequence has ended; several are queued before the first result is awaited, and short ones are
 * submitted together.
 */
async function* decode(
  model: Model,
  sequences: readonly Sequence[],
  options: GenerateOptions,
): AsyncGenerator<Arrival, void, void> {
  const B = sequences.length;
  const read = { slot: 'next_tokens', bytes: B * 4 };
  model.write(
    'row_sequences',
    sequences.map((_, s) => s),
  );
  /** Position that each sequence's next step computes. */
  const position = sequences.map((s) => s.prompt.length);
  const queue: Promise<Uint32Array[]>[] = [];
  const pace = new Pace(model.executor.depth);
  const ahead = new PlansAhead(model, (context) => model.decodePlan(B, context));
  const limit = Math.max(...sequences.map((s) => s.limit));
  const running = () => sequences.some((s) => s.finish === undefined);
  /** Steps that some sequence may still need. */
  const needed = () =>
    Math.max(0, ...sequences.map((s, i) => (s.finish === undefined ? s.limit - 1 - position[i] : 0)));
  let arrived = performance.now();
  try {
    while (running() || queue.length > 0) {
      const { steps: together, submits } = pace.next;
      while (running() && needed() > 0 && queue.length < submits) {
        park(model, sequences, position);
        // A sequence is moved between submits, so none may come to its last position within one.
        const room = Math.min(...sequences.map((s, i) => s.limit - position[i]));
        const count = Math.min(together, needed(), room);
        const longest = Math.max(...position);
        const plans: PreparedPlan[] = [];
        for (let i = 1; i <= count; i++) plans.push(await model.decodePlan(B, longest + i));
        queue.push(model.steps(plans, read));
        for (let s = 0; s < B; s++) position[s] += plans.length;
      }
      ahead.begin(Math.max(...position), limit);
      const next = queue.shift();
      if (next === undefined) break;
      const steps = await next;
      const now = performance.now();
      pace.note(steps.length, now - arrived);
      for (const tokens of steps) {
        if (!running()) break;
        yield { added: Array.from(tokens, (token) => [token]), ms: (now - arrived) / steps.length };
      }
      arrived = now;
      if (options.signal?.aborted === true) break;
    }
  } finally {
    // Results of steps that ran ahead of the end are not wanted, but their buffers must come back.
    await Promise.allSettled(queue);
    for (const [s, sequence] of sequences.entries()) sequence.written = position[s];
  }
}

/**
 * A sequence that has used up its positions while others go on is moved back to position 0 of its own pages, where it
 * can do no harm. Steps queued before still see its old place, since writes keep their order in the queue.
 */
function park(model: Model, sequences: readonly Sequence[], position: number[]): void {
  for (const [s, sequence] of sequences.entries()) {
    if (position[s] < sequence.limit) continue;
    position[s] = 0;
    model.write('next_places', [s, 0], s * 2);
  }
}
