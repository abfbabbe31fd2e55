/** Times whole decoding steps as generation runs them: tokens come out, several steps are under way. */
import { DeviceError, InputError } from '../errors.ts';
import { PAGE } from '../kernels/paged.ts';
import { encodeBinding, seededRandom } from '../kernels/verify.ts';
import { Pace } from '../model/pace.ts';
import type { Plan } from '../model/plan.ts';
import type { PreparedPlan } from '../runtime/executor.ts';
import { GpuExecutor } from '../runtime/gpu_executor.ts';
import type { Model } from '../runtime/model.ts';
import type { SequencePages } from '../runtime/pages.ts';
import { encodeSampling, OPTION_WORDS } from '../runtime/sampling.ts';
import { callCost } from './call_cost.ts';
import type { Ceilings } from './ceilings.ts';
import { MAX_SPANS, stepClock } from './step_clock.ts';
import { quantile } from './timing.ts';

/** Sequences that all have the same number of positions behind them. */
export interface DecodeCase {
  readonly batch: number;
  /** Positions that the first step attends to. */
  readonly context: number;
  /** Steps that are counted. */
  readonly steps: number;
  /**
   * Whether every step is given tokens from all over the vocabulary, as unrelated sequences have, instead of its own: weights
   * that are a pattern soon give all sequences the same token, and that the same few experts.
   */
  readonly spread?: boolean;
}

/** What the steps of a case took. */
export interface DecodeRow extends DecodeCase {
  /**
   * Milliseconds between the arrivals of successive steps' tokens, the median; steps that arrive together share theirs evenly.
   * No less than `gpuMs`: a host that is late gets the tokens of many steps at once.
   */
  readonly tpotMs: number;
  readonly tpotP99Ms: number;
  /** Milliseconds of a step by GPU timestamps; undefined where there are none. */
  readonly gpuMs: number | undefined;
  readonly tokensPerSecond: number;
  /** Bytes that a step touches, as the kernels declare them. */
  readonly stepBytes: number;
  /** Those bytes per TPOT, in percent of the read bandwidth. */
  readonly mbuPercent: number;
  readonly dispatches: number;
  /** Milliseconds of the host to encode and submit a step. */
  readonly encodeMs: number;
  /** Share of TPOT in which the GPU does not work on a step, in percent. */
  readonly idlePercent: number | undefined;
}

/** Steps before those that are counted. */
export const WARM_STEPS = 4;

/** Milliseconds of steps before those: a GPU that idled starts at a low clock and takes this long to raise it. */
const WARM_MS = 400;

/** Most steps that are counted. */
const MAX_STEPS = MAX_SPANS - WARM_STEPS;

/** The executor of a model that runs on a GPU. */
export function gpuOf(model: Model): GpuExecutor {
  if (!(model.executor instanceof GpuExecutor)) throw new InputError('device', 'a GPU', model.executor.kind);
  return model.executor;
}

/**
 * Runs decoding steps over a cache filled with a pattern. `before`: what is done after they have warmed up, right before
 * those that count.
 *
 * @throws InputError when batch or context exceed what the model has room for, or for too many steps; DeviceError when
 *   results are not finite, or for what the device reports.
 */
export async function benchDecode(
  model: Model,
  wanted: DecodeCase,
  ceilings: Ceilings,
  before: () => Promise<void> = async () => {},
): Promise<DecodeRow> {
  const { batch, context, steps, spread } = wanted;
  if (steps > MAX_STEPS) throw new InputError('steps', `at most ${MAX_STEPS}`, steps);
  const executor = gpuOf(model);
  return withSequences(model, wanted, async (plan, rewind) => {
    const total = WARM_STEPS + steps;
    const clock = stepClock(executor, total);
    try {
      const prepared: PreparedPlan[] = [];
      for (let i = 0; i < total; i++) prepared.push(await model.decodePlan(batch, context + i));
      const read = [{ slot: 'next_tokens', bytes: batch * 4 }];
      const encodes: number[] = [];
      const warm = await warmUp(executor, () => executor.run(prepared[0], read), rewind);
      await before();
      const queue = warm.map((arrival) => ({ arrival, steps: 0 }));
      // As in generation, but that the host writes the tokens of weights that are a pattern before each step.
      const pace = new Pace(executor.depth, spread === true);
      const tpots: number[] = [];
      let arrived = performance.now();
      for (let issued = 0; issued < total || queue.length > 0; ) {
        const { steps: together, submits } = pace.next;
        while (issued < total && queue.length < submits) {
          if (spread === true) writeTokens(model, batch, issued);
          const steps = prepared.slice(issued, issued + together);
          const begin = performance.now();
          const arrival = executor.runAll(steps, read, clock.timestamps(issued));
          encodes.push(...shares(performance.now() - begin, steps.length));
          queue.push({ arrival, steps: steps.length });
          issued += steps.length;
        }
        const next = queue.shift();
        if (next === undefined) break;
        await next.arrival;
        const now = performance.now();
        if (next.steps > 0) pace.note(next.steps, now - arrived);
        tpots.push(...shares(now - arrived, next.steps));
        arrived = now;
      }
      tpots.splice(0, WARM_STEPS);
      const spans = await clock.spans();
      const gpuMs = spans === undefined ? undefined : quantile(spans.slice(WARM_STEPS), 0.5) / 1000;
      const mean = tpots.reduce((a, b) => a + b, 0) / tpots.length;
      const tpotMs = Math.max(quantile(tpots, 0.5), gpuMs ?? 0);
      const stepBytes = planBytes(plan, context + Math.floor(total / 2));
      return {
        ...wanted,
        tpotMs,
        tpotP99Ms: quantile(tpots, 0.99),
        gpuMs,
        tokensPerSecond: (batch * 1000) / mean,
        stepBytes,
        mbuPercent: (stepBytes / (tpotMs * 1e6) / ceilings.readGBs) * 100,
        dispatches: plan.calls.length,
        encodeMs: quantile(encodes.slice(WARM_STEPS), 0.5),
        idlePercent: gpuMs === undefined ? undefined : Math.max(0, 1 - gpuMs / mean) * 100,
      };
    } finally {
      clock.dispose();
    }
  });
}

/** Even shares of what some steps took together. */
const shares = (ms: number, steps: number): number[] => Array(steps).fill(ms / steps);

/**
 * Runs the same step again and again until the GPU's clock has risen, and returns the runs that are still under way, so
 * that what is measured follows without a pause. The sequences are back where they were.
 */
export async function warmUp(
  { depth }: GpuExecutor,
  step: () => Promise<unknown>,
  rewind: () => void,
): Promise<Promise<unknown>[]> {
  const queue: Promise<unknown>[] = [];
  const begin = performance.now();
  for (let issued = 0; issued < WARM_STEPS || performance.now() - begin < WARM_MS; issued++) {
    if (queue.length === depth) await queue.shift();
    queue.push(step());
    rewind();
  }
  return queue;
}

/**
 * Readies sequences of `context - 1` positions, calls `run` with the first step's plan and with what takes the sequences
 * back there, and checks that what came out is finite. Pages are given back.
 */
export async function withSequences<R>(
  model: Model,
  { batch, context, steps }: DecodeCase,
  run: (plan: Plan, rewind: () => void) => Promise<R>,
): Promise<R> {
  const last = context + WARM_STEPS + steps;
  if (batch > model.maxBatch) throw new InputError('batch', `at most ${model.maxBatch}`, batch);
  if (last > model.maxContext) throw new InputError('context', `at most ${model.maxContext} positions`, last);
  const release = await model.exclusive();
  const pages: SequencePages[] = [];
  try {
    for (let s = 0; s < batch; s++) pages.push(model.pages.take(last));
    const prepared = await model.decodePlan(batch, context);
    const longest = await model.decodePlan(batch, last);
    writeInputs(model, prepared.plan, pages, context);
    const result = await run(prepared.plan, () => writePlaces(model, batch, context));
    await checkLogits(model, longest, 'decoding');
    return result;
  } finally {
    for (const own of pages) model.pages.release(own);
    release();
  }
}

/**
 * Runs a step once more and looks at its first row of logits; `what` says what the step does.
 *
 * @throws DeviceError when one of them is not finite.
 */
export async function checkLogits(model: Model, step: PreparedPlan, what: string): Promise<void> {
  const words = await model.step(step, { slot: 'logits', bytes: model.config.vocab_size * 4 });
  const bad = new Float32Array(words.buffer).findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new DeviceError(`${what} gave a logit that is not finite, for token ${bad}`);
}

/** Cache, page tables, sampling options, places and first tokens of full sequences. */
function writeInputs(model: Model, plan: Plan, pages: readonly SequencePages[], context: number): void {
  const executor = gpuOf(model);
  const batch = pages.length;
  for (const { name, type, dims, purpose } of plan.slots.values()) {
    if (purpose === 'cache' && dims !== undefined) {
      executor.fill(name, encodeBinding({ type, dims, use: 'in' }, cacheValues(dims)));
    }
  }
  const options = new Uint32Array(batch * OPTION_WORDS);
  for (const [s, own] of pages.entries()) {
    model.writePages(s, own);
    options.set(encodeSampling({}), s * OPTION_WORDS);
  }
  model.write('sampling_options', options);
  model.write(
    'row_sequences',
    pages.map((_, s) => s),
  );
  writeTokens(model, batch, 0);
  writePlaces(model, batch, context);
}

/** Tokens of all sequences for a step, from all over the vocabulary. */
export function writeTokens(model: Model, batch: number, step: number): void {
  const { vocab_size } = model.config;
  model.write(
    'next_tokens',
    Array.from({ length: batch }, (_, s) => (spreadToken(s, vocab_size) + step * 104_729) % vocab_size),
  );
}

/** The `i`-th of tokens from all over a vocabulary. */
export function spreadToken(i: number, vocab: number): number {
  return (1 + i * 7919) % vocab;
}

/** Where the next tokens go: the last of `context` positions of every sequence. */
function writePlaces(model: Model, batch: number, context: number): void {
  model.write('next_places', Array.from({ length: batch }, (_, s) => [s, context - 1]).flat());
}

/** Elements of a cache that are repeated throughout, at least; whole pages. */
const CACHE_PATTERN = 64 * 1024;

const cachePatterns = new Map<number, Float64Array>();

function cacheValues([, kvHeads, D8]: readonly number[]): Float64Array {
  const page = PAGE * kvHeads * D8;
  const length = Math.ceil(CACHE_PATTERN / page) * page;
  const random = seededRandom(1);
  const values = cachePatterns.get(length) ?? Float64Array.from({ length }, () => random() * 2 - 1);
  cachePatterns.set(length, values);
  return values;
}

/** Bytes that a plan touches when its sequences are `context` long. */
function planBytes(plan: Plan, context: number): number {
  return plan.calls.reduce((sum, call) => {
    const { bytesRead, bytesWritten } = callCost(call, () => context);
    return sum + bytesRead + bytesWritten;
  }, 0);
}
