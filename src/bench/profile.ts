/** Where the time of a step goes: every call timed on its own, summed over layers. */
import { DeviceError, InputError } from '../errors.ts';
import type { KernelCall } from '../model/plan.ts';
import type { PreparedPlan } from '../runtime/executor.ts';
import type { GpuExecutor } from '../runtime/gpu_executor.ts';
import type { Model } from '../runtime/model.ts';
import { callCost } from './call_cost.ts';
import { arithmeticOf, type Ceilings } from './ceilings.ts';
import { type DecodeCase, gpuOf, withSequences, writeTokens } from './decode.ts';
import { type PrefillCase, withPrompt } from './prefill.ts';
import { MAX_SPANS, resolveSpans } from './step_clock.ts';
import { quantile } from './timing.ts';

/** Calls that compute the same in different layers. */
export interface ProfileRow {
  /** The checkpoint's words with `*` for the layer, e.g. `layers.*.wq`. */
  readonly label: string;
  readonly kernel: string;
  readonly calls: number;
  /** Microseconds of all of them in one step. */
  readonly us: number;
  /** Of the sum over all calls. */
  readonly sharePercent: number;
  /** Bytes read and written as declared, per time. */
  readonly gbps: number;
  readonly readPercent: number;
  /** Operations as declared, per time. */
  readonly tflops: number;
  /** Of the rate of matrix units where the kernel uses them, else of f32 multiply-adds. */
  readonly arithmeticPercent: number;
}

/** Most steps of which each call's median is taken. */
const ROUNDS = 5;

/**
 * Profiles the steps of one case, the slowest call first. A pass per call costs time of its own, so the sum exceeds a step.
 *
 * @throws DeviceError without timestamps or for what the device reports; InputError for a step of too many calls; otherwise
 *   as `benchDecode`.
 */
export async function profileDecode(
  model: Model,
  wanted: DecodeCase,
  ceilings: Ceilings,
): Promise<ProfileRow[]> {
  const executor = timedGpu(model);
  const { batch, context, steps, spread } = wanted;
  const count = Math.min(ROUNDS, steps);
  return withSequences(model, { ...wanted, steps: count }, async () => {
    const prepared = await model.decodePlan(batch, context + count);
    const times = await callTimes(executor, prepared, count, (round) => {
      if (spread === true) writeTokens(model, batch, round);
    });
    return summed(prepared.plan.calls, times, () => context, ceilings);
  });
}

/**
 * Profiles the step of a prompt's last chunk, the slowest call first; the sum exceeds the step as for `profileDecode`.
 *
 * @throws DeviceError without timestamps or for what the device reports; InputError for a step of too many calls; otherwise
 *   as `benchPrefill`.
 */
export async function profilePrefill(
  model: Model,
  wanted: PrefillCase,
  ceilings: Ceilings,
): Promise<ProfileRow[]> {
  const executor = timedGpu(model);
  return withPrompt(model, wanted, async ({ last: { prepared, first }, rewind }) => {
    const times = await callTimes(executor, prepared, Math.min(ROUNDS, wanted.rounds), rewind);
    return summed(prepared.plan.calls, times, (row) => first + row + 1, ceilings);
  });
}

function timedGpu(model: Model): GpuExecutor {
  const executor = gpuOf(model);
  if (!executor.gpu.timestamps) throw new DeviceError('a profile needs the feature timestamp-query');
  return executor;
}

/** Microseconds of every call of a step: medians of `rounds`, `before` each of which the step is readied. */
async function callTimes(
  executor: GpuExecutor,
  prepared: PreparedPlan,
  rounds: number,
  before: (round: number) => void,
): Promise<number[]> {
  const { calls } = prepared.plan;
  if (calls.length > MAX_SPANS) {
    throw new InputError('profile', `a step of at most ${MAX_SPANS} calls`, calls.length);
  }
  const querySet = executor.gpu.device.createQuerySet({ type: 'timestamp', count: 2 * calls.length });
  try {
    const times: number[][] = [];
    for (let round = 0; round <= rounds; round++) {
      before(round);
      await executor.run(prepared, [], { querySet, first: 0, perCall: true });
      times.push(await resolveSpans(executor, querySet, calls.length));
    }
    // The first round is not counted.
    const counted = times.slice(1);
    return calls.map((_, i) =>
      quantile(
        counted.map((round) => round[i]),
        0.5,
      ),
    );
  } finally {
    querySet.destroy();
  }
}

/** Sums over layers; `contextOf`: positions that a row of the step sees. */
function summed(
  calls: readonly KernelCall[],
  times: readonly number[],
  contextOf: (row: number) => number,
  ceilings: Ceilings,
): ProfileRow[] {
  const groups = new Map<
    string,
    { first: KernelCall; calls: number; us: number; bytes: number; flops: number }
  >();
  calls.forEach((call, i) => {
    const key = `${layerless(call.label)} ${call.kernel.name}`;
    const group = groups.get(key) ?? { first: call, calls: 0, us: 0, bytes: 0, flops: 0 };
    const cost = callCost(call, contextOf);
    group.calls++;
    group.us += times[i];
    group.bytes += cost.bytesRead + cost.bytesWritten;
    group.flops += cost.flops;
    groups.set(key, group);
  });
  const total = times.reduce((a, b) => a + b, 0);
  return [...groups.values()]
    .sort((a, b) => b.us - a.us)
    .map(({ first, calls, us, bytes, flops }) => {
      const gbps = bytes / us / 1e3;
      const tflops = flops / us / 1e6;
      return {
        label: layerless(first.label),
        kernel: first.kernel.name,
        calls,
        us,
        sharePercent: (us / total) * 100,
        gbps,
        readPercent: (gbps / ceilings.readGBs) * 100,
        tflops,
        arithmeticPercent: (tflops / arithmeticOf(ceilings, [first.variant])) * 100,
      };
    });
}

/** The checkpoint's words with `*` for the layer. */
export function layerless(label: string): string {
  return label.replace(/^layers\.\d+\./, 'layers.*.');
}
