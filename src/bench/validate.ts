/** Decoding steps as predicted and as measured: whole, as generation runs them, and without each kind of call in turn. */
import type { Calibration } from '../cost/calibration.ts';
import { type Prediction, predict } from '../cost/predict.ts';
import type { Model } from '../runtime/model.ts';
import { type ClockGuard, guardOf } from './clock_guard.ts';
import {
  benchDecode,
  type DecodeCase,
  type DecodeRow,
  gpuOf,
  resolveSpans,
  WARM_STEPS,
  warmUp,
  withSequences,
} from './decode.ts';
import { GpuClock, quantile } from './timing.ts';

/** A prediction beside a measurement. */
export interface Compared {
  readonly predicted: number;
  readonly measured: number;
  /** predicted / measured - 1, in percent. */
  readonly errorPercent: number;
}

/** Calls of the same name in all layers; microseconds of all of them. */
export interface ComparedCalls extends Compared {
  readonly label: string;
  readonly kernel: string;
  readonly family: string;
  readonly calls: number;
  readonly bytes: number;
  readonly flops: number;
  readonly bound: string;
}

/** One case of a sweep. */
export interface ValidatedStep extends DecodeCase {
  readonly prediction: Prediction;
  readonly dispatches: number;
  /** Milliseconds on the GPU; absent without timestamps. */
  readonly gpuMs: Compared | undefined;
  readonly tpotMs: Compared;
  readonly hostMs: Compared;
  readonly tokensPerSecond: number;
  readonly mbuPercent: number;
  readonly mfuPercent: number;
  /** Those that could be told from noise; none without timestamps. */
  readonly calls: readonly ComparedCalls[];
  /** Distinct experts of a mixture layer: expected of even routing, and the mean over layers that was chosen. */
  readonly experts: { readonly expected: number; readonly chosen: number } | undefined;
}

/** Milliseconds of whole steps that each group of calls is compared with, and how many steps that may be. */
const PAIRS_MS = 24;
const LEAST_PAIRS = 7;
const MOST_PAIRS = 60;

/** What generation reads of a step. */
const READ = [{ slot: 'next_tokens', bytes: 4 }];

export function compared(predicted: number, measured: number): Compared {
  return { predicted, measured, errorPercent: (predicted / measured - 1) * 100 };
}

/**
 * Predicts a case from the calibration alone, then measures it.
 *
 * @throws InputError when the calibration lacks a kernel family; otherwise as `benchDecode`.
 */
export async function validateStep(
  model: Model,
  wanted: DecodeCase,
  calibration: Calibration,
): Promise<ValidatedStep> {
  const { batch, context, steps } = wanted;
  const middle = context + Math.floor((WARM_STEPS + steps) / 2);
  const { plan } = await model.decodePlan(batch, middle);
  const prediction = predict(plan, calibration, { context: middle });
  const { read, fma_tflops, dispatch_us, round_trip_us } = calibration;
  const memory = read[read.length - 1];
  const ceilings = {
    readGBs: memory.median,
    readBytes: memory.bytes,
    fmaTFLOPs: fma_tflops.median,
    dispatchUs: dispatch_us.median,
    roundTripUs: round_trip_us.median,
  };
  const { gpu, pipelines } = gpuOf(model);
  const clock = new GpuClock(gpu);
  const guard = await guardOf({ gpu, pipelines, clock }, memory.median);
  let row: DecodeRow;
  let calls: readonly ComparedCalls[];
  try {
    row = await benchDecode(model, wanted, ceilings, () => guard.rise());
    calls = await compareCalls(model, wanted, prediction, row.gpuMs, guard);
  } finally {
    guard.dispose();
    clock.dispose();
  }
  const scale = prediction.tpotMs / row.tpotMs;
  return {
    ...wanted,
    prediction,
    dispatches: row.dispatches,
    gpuMs: row.gpuMs === undefined ? undefined : compared(prediction.gpuMs, row.gpuMs),
    tpotMs: compared(prediction.tpotMs, row.tpotMs),
    hostMs: compared(prediction.hostMs, row.encodeMs),
    tokensPerSecond: row.tokensPerSecond,
    mbuPercent: prediction.mbuPercent * scale,
    mfuPercent: prediction.mfuPercent * scale,
    calls,
    experts: await expertLoads(model, wanted),
  };
}

/** Calls of one name in all layers, by their indices. */
function callGroups(prediction: Prediction): number[][] {
  const groups = new Map<string, number[]>();
  prediction.calls.forEach((call, i) => {
    const name = `${layerless(call.label)} ${call.kernel}`;
    groups.set(name, [...(groups.get(name) ?? []), i]);
  });
  return [...groups.values()];
}

/**
 * What the calls of each name take within the step: the time of whole steps less that of steps without them, in turn. The
 * others then work on what an earlier step left, which takes as long. Calls that noise hides are not compared.
 */
async function compareCalls(
  model: Model,
  wanted: DecodeCase,
  prediction: Prediction,
  stepMs: number | undefined,
  guard: Pick<ClockGuard, 'rise'>,
): Promise<ComparedCalls[]> {
  const executor = gpuOf(model);
  if (stepMs === undefined) return [];
  const groups = callGroups(prediction);
  const pairs = Math.round(Math.min(MOST_PAIRS, Math.max(LEAST_PAIRS, PAIRS_MS / stepMs)));
  const times = await withSequences(model, { ...wanted, steps: 1 }, async (_, rewind) => {
    const prepared = await model.decodePlan(wanted.batch, wanted.context + 1);
    const querySet = executor.gpu.device.createQuerySet({ type: 'timestamp', count: 4 * pairs });
    const step = (first: number, without?: ReadonlySet<number>) => {
      const run = executor.run(prepared, READ, { querySet, first, perCall: false }, without);
      rewind();
      return run;
    };
    try {
      const found: (number | undefined)[] = [];
      const queue = await warmUp(executor, () => step(0), rewind);
      for (const group of groups) {
        const without = new Set(group);
        await guard.rise();
        for (let i = 0; i < WARM_STEPS; i++) queue.push(step(0));
        for (let i = 0; i < 2 * pairs; i++) {
          while (queue.length >= executor.depth) await queue.shift();
          queue.push(i % 2 === 0 ? step(2 * i) : step(2 * i, without));
        }
        await Promise.all(queue.splice(0));
        const spans = await resolveSpans(executor, querySet, 2 * pairs);
        found.push(resolved(Array.from({ length: pairs }, (_, i) => spans[2 * i] - spans[2 * i + 1])));
      }
      return found;
    } finally {
      querySet.destroy();
    }
  });
  return groups
    .flatMap((group, i): ComparedCalls[] => {
      const us = times[i];
      if (us === undefined) return [];
      const { label, kernel, family, work, bound } = prediction.calls[group[0]];
      const predicted = group.reduce((sum, at) => sum + prediction.calls[at].us, 0);
      return [
        {
          label: layerless(label),
          ...{ kernel, family, calls: group.length, bound },
          bytes: work.cost.bytesRead + work.cost.bytesWritten,
          flops: work.cost.flops,
          ...compared(predicted, us),
        },
      ];
    })
    .sort((a, b) => b.measured - a.measured);
}

/**
 * The median of differences; undefined where noise hides it: where the error of that median, estimated from the middle half
 * of the differences, is more than a fifth of it.
 */
export function resolved(differences: readonly number[]): number | undefined {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(differences, q));
  const error = (0.93 * (high - low)) / Math.sqrt(differences.length);
  return error < middle / 5 ? middle : undefined;
}

/** The checkpoint's words with `*` for the layer. */
function layerless(label: string): string {
  return label.replace(/^layers\.\d+\./, 'layers.*.');
}

/** Most mixture layers that are looked at. */
const MOST_LAYERS = 8;

/** Which experts a step's tokens choose, by running it up to each router in turn. */
async function expertLoads(
  model: Model,
  wanted: DecodeCase,
): Promise<{ expected: number; chosen: number } | undefined> {
  const { config } = model;
  if (config.moe_layers.length === 0) return undefined;
  const executor = gpuOf(model);
  const { batch } = wanted;
  const { moe_num_experts: experts, moe_top_k: topK } = config;
  const chosen = await withSequences(model, { ...wanted, steps: 1 }, async (plan) => {
    const counts: number[] = [];
    for (const layer of config.moe_layers.slice(0, MOST_LAYERS)) {
      const router = plan.calls.findIndex(({ label }) => label === `layers.${layer}.moe.gate`);
      if (router < 0) continue;
      const part = await executor.prepare({ ...plan, calls: plan.calls.slice(0, router + 1) });
      try {
        const stride = Math.ceil(experts / 8) * 8;
        const [bytes] = await executor.run(part, [{ slot: 'router_logits', bytes: batch * stride * 4 }]);
        counts.push(distinct(new Float32Array(bytes.buffer), batch, stride, experts, topK));
      } finally {
        executor.release(part);
      }
    }
    return counts;
  });
  if (chosen.length === 0) return undefined;
  return {
    expected: experts * (1 - (1 - topK / experts) ** batch),
    chosen: chosen.reduce((a, b) => a + b, 0) / chosen.length,
  };
}

function distinct(
  logits: Float32Array,
  tokens: number,
  stride: number,
  experts: number,
  topK: number,
): number {
  const used = new Set<number>();
  for (let t = 0; t < tokens; t++) {
    const own = logits.subarray(t * stride, t * stride + experts);
    const order = Array.from(own.keys()).sort((a, b) => own[b] - own[a] || a - b);
    for (const expert of order.slice(0, topK)) used.add(expert);
  }
  return used.size;
}

/** Errors of a sweep, as absolute percentages. */
export interface ErrorSummary {
  readonly count: number;
  readonly medianPercent: number;
  readonly p90Percent: number;
  readonly worstPercent: number;
}

/** Median, 90th percentile and largest of |error|; undefined of none. */
export function summarise(rows: readonly Compared[]): ErrorSummary | undefined {
  if (rows.length === 0) return undefined;
  const errors = rows.map(({ errorPercent }) => Math.abs(errorPercent));
  return {
    count: errors.length,
    medianPercent: quantile(errors, 0.5),
    p90Percent: quantile(errors, 0.9),
    worstPercent: Math.max(...errors),
  };
}
