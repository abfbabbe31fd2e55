/** Decoding steps as predicted and as measured: each call on its own, and whole steps as generation runs them. */
import type { Calibration } from '../cost/calibration.ts';
import { type Prediction, predict } from '../cost/predict.ts';
import type { Model } from '../runtime/model.ts';
import { type Guard, guardOf } from './clock_guard.ts';
import {
  benchDecode,
  type DecodeCase,
  type DecodeRow,
  gpuOf,
  WARM_STEPS,
  warmUp,
  withSequences,
  writeTokens,
} from './decode.ts';
import { layerless } from './profile.ts';
import { resolveSpans } from './step_clock.ts';
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
  /** None without timestamps. */
  readonly calls: readonly ComparedCalls[];
  /** Distinct experts of a mixture layer: expected of even routing, and the mean over layers that was chosen. */
  readonly experts: { readonly expected: number; readonly chosen: number } | undefined;
}

/** Most runs of which each call's median is taken. */
const ROUNDS = 7;

/** What a call counts as at least; the clock has steps of its own. */
const LEAST_US = 0.1;

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
  const prediction = predict(plan, calibration, { context: middle, apart: wanted.spread === true });
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
    calls = await compareCalls(model, wanted, prediction, guard);
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

/**
 * Every call in a pass of its own. Such a pass takes longer than the call within the step; what all of them take beyond the
 * same step as one pass, with the same tokens, is taken off in equal parts.
 */
async function compareCalls(
  model: Model,
  wanted: DecodeCase,
  prediction: Prediction,
  guard: Guard,
): Promise<ComparedCalls[]> {
  const executor = gpuOf(model);
  if (!executor.gpu.timestamps) return [];
  const count = Math.min(ROUNDS, wanted.steps);
  const measured = await withSequences(model, { ...wanted, steps: count }, async (_, rewind) => {
    const prepared = await model.decodePlan(wanted.batch, wanted.context + count);
    const { calls } = prepared.plan;
    // One for each round: reading them in between would let the GPU idle.
    const querySets = Array.from({ length: count }, () =>
      executor.gpu.device.createQuerySet({ type: 'timestamp', count: 2 * calls.length }),
    );
    const whole = executor.gpu.device.createQuerySet({ type: 'timestamp', count: 2 * count });
    const step = (querySet: GPUQuerySet) =>
      executor.run(prepared, READ, { querySet, first: 0, perCall: true });
    try {
      const queue = await warmUp(executor, () => step(querySets[0]), rewind);
      await guard.rise();
      for (const [round, querySet] of querySets.entries()) {
        const runs = [
          () => executor.run(prepared, READ, { querySet: whole, first: 2 * round, perCall: false }),
          () => step(querySet),
        ];
        for (const run of runs) {
          while (queue.length >= executor.depth) await queue.shift();
          writeTokens(model, wanted.batch, round);
          rewind();
          queue.push(run());
        }
      }
      await Promise.all(queue);
      const rounds: number[][] = [];
      for (const querySet of querySets) rounds.push(await resolveSpans(executor, querySet, calls.length));
      const extras = (await resolveSpans(executor, whole, count)).map((us, i) => extraPerPass(rounds[i], us));
      const extra = quantile(extras, 0.5);
      return calls.map((_call, i) =>
        quantile(
          rounds.map((round) => Math.max(LEAST_US, round[i] - extra)),
          0.5,
        ),
      );
    } finally {
      whole.destroy();
      for (const querySet of querySets) querySet.destroy();
    }
  });
  const groups = new Map<string, { first: number; calls: number; us: number; predicted: number }>();
  prediction.calls.forEach((call, i) => {
    const name = `${layerless(call.label)} ${call.kernel}`;
    const group = groups.get(name) ?? { first: i, calls: 0, us: 0, predicted: 0 };
    group.calls++;
    group.us += measured[i];
    group.predicted += call.us;
    groups.set(name, group);
  });
  return [...groups.values()]
    .sort((a, b) => b.us - a.us)
    .map(({ first, calls, us, predicted }) => {
      const { label, kernel, family, work, bound } = prediction.calls[first];
      return {
        label: layerless(label),
        ...{ kernel, family, calls, bound },
        bytes: work.cost.bytesRead + work.cost.bytesWritten,
        flops: work.cost.flops,
        ...compared(predicted, us),
      };
    });
}

/** Microseconds that passes of single calls take beyond the calls, by those of the step, which is a pass too. */
export function extraPerPass(passUs: readonly number[], stepUs: number): number {
  const sum = passUs.reduce((a, b) => a + b, 0);
  return Math.max(0, (sum - stepUs) / Math.max(1, passUs.length - 1));
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
