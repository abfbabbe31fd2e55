/** Times how long prompts take to be read, as generation reads them: chunk after chunk, several of them under way. */
import { InputError } from '../errors.ts';
import type { KernelCall } from '../model/plan.ts';
import type { PreparedPlan } from '../runtime/executor.ts';
import type { RunTimestamps } from '../runtime/gpu_executor.ts';
import type { Model } from '../runtime/model.ts';
import type { SequencePages } from '../runtime/pages.ts';
import { feedPrompts, type PromptToken, promptTokens, writeSequences } from '../runtime/prefill.ts';
import { callCost } from './call_cost.ts';
import { arithmeticOf, type Ceilings } from './ceilings.ts';
import { checkLogits, gpuOf, spreadToken, warmUp } from './decode.ts';
import { MAX_SPANS, stepClock } from './step_clock.ts';
import { quantile } from './timing.ts';

/** One prompt, of tokens from all over the vocabulary. */
export interface PrefillCase {
  /** Tokens of the prompt. */
  readonly prompt: number;
  /** Tokens per step. */
  readonly chunk: number;
  /** Times that the prompt is read and counted. */
  readonly rounds: number;
}

/** What reading the prompt took. */
export interface PrefillRow extends PrefillCase {
  /** Milliseconds until the first new token is on the host: the median. */
  readonly ttftMs: number;
  /** Milliseconds of the chunks' steps by GPU timestamps, the median of their sums; undefined where there are none. */
  readonly gpuMs: number | undefined;
  /** Prompt tokens per second until then. */
  readonly tokensPerSecond: number;
  /** Operations of all chunks, as the kernels declare them; each token sees the positions up to its own. */
  readonly flops: number;
  /** Those per GPU time; undefined where that is. */
  readonly tflops: number | undefined;
  /** Of the rate of matrix units where chunks use them, else of f32 multiply-adds, in percent; undefined as `tflops`. */
  readonly arithmeticPercent: number | undefined;
  /** Of the whole prompt. */
  readonly dispatches: number;
}

/** The step of a chunk. */
export interface ChunkStep {
  readonly prepared: PreparedPlan;
  /** Position of its first token. */
  readonly first: number;
}

/** A prompt that has been read once, so that everything is compiled and the cache is filled. */
export interface ReadPrompt {
  readonly steps: readonly ChunkStep[];
  readonly last: ChunkStep;
  /** Reads it again; `timestamps`: where the step of chunk `i` leaves its times. */
  read(timestamps?: (i: number) => RunTimestamps | undefined): Promise<void>;
  /** Takes the place of the next token back to where it was before a run of the last chunk. */
  rewind(): void;
}

/** What generation reads of a chunk. */
const READ = [{ slot: 'next_tokens', bytes: 4 }];

/**
 * Reads a prompt a few times, after the GPU has warmed up over its last chunk.
 *
 * @throws InputError when the prompt exceeds the context, the chunk exceeds what the cache has room for, or there are too
 *   many chunks; KernelError when a chunk exceeds the adapter's limits; DeviceError when results are not finite, or for what
 *   the device reports.
 */
export async function benchPrefill(
  model: Model,
  wanted: PrefillCase,
  ceilings: Ceilings,
): Promise<PrefillRow> {
  const executor = gpuOf(model);
  return withPrompt(model, wanted, async ({ steps, last, read, rewind }) => {
    // One for each round: reading them in between would let the GPU idle.
    const clocks = Array.from({ length: wanted.rounds }, () => stepClock(executor, steps.length));
    try {
      await Promise.all(await warmUp(executor, () => executor.run(last.prepared, READ), rewind));
      const ttfts: number[] = [];
      for (const clock of clocks) {
        const begin = performance.now();
        await read(clock.timestamps);
        ttfts.push(performance.now() - begin);
      }
      const sums: number[] = [];
      for (const clock of clocks) {
        const spans = await clock.spans();
        if (spans !== undefined) sums.push(spans.reduce((a, b) => a + b, 0));
      }
      const ttftMs = quantile(ttfts, 0.5);
      const gpuMs = sums.length === 0 ? undefined : quantile(sums, 0.5) / 1000;
      const calls = steps.flatMap(({ prepared }) => prepared.plan.calls);
      const flops = steps.reduce((sum, step) => sum + stepFlops(step), 0);
      const tflops = gpuMs === undefined ? undefined : flops / (gpuMs * 1e9);
      const ceiling = arithmeticOf(
        ceilings,
        calls.map(({ variant }) => variant),
      );
      return {
        ...wanted,
        ttftMs,
        gpuMs,
        tokensPerSecond: (wanted.prompt * 1000) / ttftMs,
        flops,
        tflops,
        arithmeticPercent: tflops === undefined ? undefined : (tflops / ceiling) * 100,
        dispatches: calls.length,
      };
    } finally {
      for (const clock of clocks) clock.dispose();
    }
  });
}

function stepFlops({ prepared, first }: ChunkStep): number {
  const flopsOf = (call: KernelCall) => callCost(call, (row) => first + row + 1).flops;
  return prepared.plan.calls.reduce((sum, call) => sum + flopsOf(call), 0);
}

/**
 * Reads a prompt once, calls `run` with what reads it again, and checks that what came out is finite. Pages are given back.
 *
 * @throws as `benchPrefill`.
 */
export async function withPrompt<R>(
  model: Model,
  { prompt, chunk }: PrefillCase,
  run: (prompt: ReadPrompt) => Promise<R>,
): Promise<R> {
  const executor = gpuOf(model);
  const ids = Array.from({ length: prompt }, (_, i) => spreadToken(i, model.config.vocab_size));
  model.checkTokens(ids, 1);
  const least = Math.ceil(prompt / MAX_SPANS);
  if (chunk < least) throw new InputError('chunk', `at least ${least} tokens of ${prompt}`, chunk);
  const most = model.together;
  if (chunk > most) throw new InputError('chunk', `at most ${most} tokens, as the cache has room for`, chunk);
  const tokens = promptTokens([ids]);
  const release = await model.exclusive();
  const pages: SequencePages[] = [];
  try {
    pages.push(model.pages.take(prompt + 1));
    // Makes the slots that sampling writes.
    await model.decodePlan(1, 1);
    const steps: ChunkStep[] = [];
    const read: ReadPrompt['read'] = async (timestamps) => {
      writeSequences(model, [ids], pages, {});
      const step = async (prepared: PreparedPlan, [{ position: first }]: readonly PromptToken[]) => {
        const i = first / chunk;
        steps[i] = { prepared, first };
        const [bytes] = await executor.run(prepared, READ, timestamps?.(i));
        return new Uint32Array(bytes.buffer);
      };
      await feedPrompts(model, tokens, { chunk, depth: executor.depth, step });
    };
    await read();
    const last = steps[steps.length - 1];
    const result = await run({
      steps,
      last,
      read,
      rewind: () => model.write('next_places', [0, prompt - 1]),
    });
    await checkLogits(model, last.prepared, 'reading a prompt');
    return result;
  } finally {
    for (const own of pages) model.pages.release(own);
    release();
  }
}
