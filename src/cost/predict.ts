/** Predicts the time of a decoding step from its plan and an adapter's calibration. */
import { InputError } from '../errors.ts';
import { kernelParts } from '../kernels/kernel.ts';
import { stepsTogether } from '../model/pace.ts';
import type { KernelCall, Plan } from '../model/plan.ts';
import { type Calibration, passUs } from './calibration.ts';
import { type Bound, boundOf, type Law, type Terms, termsOf, timeOf } from './law.ts';
import { formatOf, type LaidOut } from './layout.ts';
import { type Work, workOf } from './work.ts';

/** What a prediction depends on beside plan and calibration. */
export interface PredictOptions {
  /** Positions that every sequence attends to. */
  readonly context: number;
  /** Whether sampling only looks for the largest logit. Default true. */
  readonly greedy?: boolean;
  /** Whether every step has a submit of its own, however short it is. Default false. */
  readonly apart?: boolean;
}

/** A call of the step. */
export interface PredictedCall {
  readonly label: string;
  readonly kernel: string;
  readonly family: string;
  readonly work: Work;
  readonly terms: Terms;
  /** Microseconds in the step. */
  readonly us: number;
  readonly bound: Bound;
}

/** A step. */
export interface Prediction {
  readonly calls: readonly PredictedCall[];
  readonly bytes: number;
  readonly flops: number;
  /** Milliseconds on the GPU: its calls, and what the pass around them takes. */
  readonly gpuMs: number;
  /** Milliseconds of the host to encode and submit the step. */
  readonly hostMs: number;
  /** Time per output token: the longer of GPU, with the gap between steps, and host. */
  readonly tpotMs: number;
  readonly tokensPerSecond: number;
  /** Bytes per TPOT in percent of the bandwidth of reading memory. */
  readonly mbuPercent: number;
  /** FLOPs per TPOT in percent of the fastest arithmetic that the plan uses. */
  readonly mfuPercent: number;
  /** What bounds the step: the host, or what most of the GPU's time is bound by. */
  readonly bound: Bound | 'host';
  /** Share of the calls' time that is bound by each, in percent. */
  readonly boundPercent: Readonly<Record<Bound, number>>;
}

/**
 * The time of each call of `plan` and of the step, from the second step of its kind on: what caches hold is what the step
 * before left there.
 *
 * @throws InputError naming the family when the calibration lacks one that the plan needs; KernelError naming a kernel that
 *   the cost model has no law for.
 */
export function predict(plan: Plan, calibration: Calibration, options: PredictOptions): Prediction {
  const { context, greedy = true, apart = false } = options;
  const { subgroup } = calibration.adapter;
  const works = plan.calls.map((call) => workOf(call, { context, subgroup, greedy }));
  const bytes = sum(works.map(({ cost }) => cost.bytesRead + cost.bytesWritten));
  const flops = sum(works.map(({ cost }) => cost.flops));
  const workingSet = sum(works.map(touched));
  const code = codeDistances(plan.calls, works);
  const calls = plan.calls.map((call, i): PredictedCall => {
    const work = works[i];
    const distances = { weights: workingSet, code: code[i] };
    const terms = termsOf(lawOf(calibration, work.family), work, calibration, distances);
    return {
      label: call.label,
      kernel: call.kernel.name,
      family: work.family,
      work,
      terms,
      us: timeOf(terms),
      bound: boundOf(terms),
    };
  });
  const callsUs = sum(calls.map(({ us }) => us));
  const gpuUs = callsUs + passUs(calibration);
  const { hostUs, gapUs } = betweenSteps(calibration, calls.length, gpuUs, apart);
  const tpotUs = Math.max(gpuUs + gapUs, hostUs);
  const { read, fma_tflops, matrix_tflops } = calibration;
  const matrix = works.some(({ units }) => units === 'matrix') ? matrix_tflops : null;
  const boundPercent = { launch: 0, memory: 0, compute: 0, latency: 0 };
  for (const { bound, us } of calls) boundPercent[bound] += (us / callsUs) * 100;
  const most = (Object.entries(boundPercent) as [Bound, number][]).reduce((a, b) => (b[1] > a[1] ? b : a));
  return {
    calls,
    bytes,
    flops,
    gpuMs: gpuUs / 1e3,
    hostMs: hostUs / 1e3,
    tpotMs: tpotUs / 1e3,
    tokensPerSecond: (plan.tokens / tpotUs) * 1e6,
    mbuPercent: (bytes / tpotUs / 1e3 / read[read.length - 1].median) * 100,
    mfuPercent: (flops / tpotUs / 1e6 / (matrix ?? fma_tflops).median) * 100,
    bound: hostUs > gpuUs + gapUs ? 'host' : most[0],
    boundPercent,
  };
}

/** How a call is run again and again. */
export interface RepeatOptions {
  /** Copies of what it streams, which take turns. */
  readonly copies: number;
  /** Whether sampling only looks for the largest logit. */
  readonly greedy: boolean;
}

/**
 * Microseconds of a call that nothing comes between, as `step3 bench kernels` times it.
 *
 * @throws InputError naming the family when the calibration lacks it; KernelError naming a kernel without a law.
 */
export function predictRepeated(call: LaidOut, calibration: Calibration, options: RepeatOptions): number {
  const { copies, greedy } = options;
  const { subgroup } = calibration.adapter;
  const work = workOf(call, { context: Number.POSITIVE_INFINITY, subgroup, greedy });
  const each = touched(work);
  const distances = { weights: work.streamed > 0 ? copies * each : each, code: each };
  return timeOf(termsOf(lawOf(calibration, work.family), work, calibration, distances));
}

/** Bytes of a call that no cache can be expected to hold already. */
function touched(work: Work): number {
  return work.streamed + work.cost.bytesWritten;
}

/** For each call of a step that is run again and again, the bytes touched since its code ran last. */
function codeDistances(calls: readonly KernelCall[], works: readonly Work[]): number[] {
  const codes = calls.map(({ kernel, params, variant }) =>
    JSON.stringify(kernelParts(kernel, params, variant)),
  );
  const last = new Map<string, number>();
  const distances: number[] = [];
  let bytes = 0;
  // The first time round only tells what the step before has left.
  for (const counts of [false, true]) {
    codes.forEach((code, i) => {
      if (counts) distances.push(bytes - (last.get(code) ?? 0));
      bytes += touched(works[i]);
      last.set(code, bytes);
    });
  }
  return distances;
}

/** The law of a family; InputError when it was not calibrated. */
export function lawOf(calibration: Calibration, family: string): Law {
  const found = Object.hasOwn(calibration.families, family) ? calibration.families[family] : undefined;
  if (found === undefined) {
    // Those of compressed weights are probed when asked for.
    const format = formatOf(family);
    const command = format === undefined ? 'step3 calibrate' : `step3 calibrate --formats ${format}`;
    throw new InputError(
      'calibration',
      `the kernel family '${family}', made with the same options (${command})`,
      `a calibration of ${Object.keys(calibration.families).length} other families`,
    );
  }
  return found.law;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** What a step takes of the host, and of the time between submits: both shared where steps are submitted together. */
function betweenSteps(
  { host_step_us, host_dispatch_us, gap_us }: Calibration,
  dispatches: number,
  gpuUs: number,
  apart: boolean,
): { hostUs: number; gapUs: number } {
  const of = (steps: number) => ({
    hostUs: host_step_us.median / steps + dispatches * host_dispatch_us.median,
    gapUs: Math.max(0, gap_us.median) / steps,
  });
  const { hostUs, gapUs } = of(1);
  return of(apart ? 1 : stepsTogether(Math.max(gpuUs + gapUs, hostUs) / 1e3));
}
