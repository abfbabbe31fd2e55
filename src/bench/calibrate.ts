/** Measures an adapter and fits the laws of the kernel families: everything that `predict` needs, from probes alone. */
import { CALIBRATION_FORMAT, type Calibration, type Family } from '../cost/calibration.ts';
import { type FitPoint, fitLaw } from '../cost/fit.ts';
import { type Distances, type Law, type Machine, termsOf, timeOf } from '../cost/law.ts';
import { type Work, workOf } from '../cost/work.ts';
import { DeviceError } from '../errors.ts';
import { pickVariant } from '../kernels/kernel.ts';
import type { AttentionParams } from '../kernels/mfa_decode.ts';
import { probe_fma } from '../kernels/probe_fma.ts';
import { probe_fma_f16 } from '../kernels/probe_fma_f16.ts';
import { probe_matrix } from '../kernels/probe_matrix.ts';
import { probe_read } from '../kernels/probe_read.ts';
import type { Gpu } from '../runtime/device.ts';
import { PipelineCache } from '../runtime/pipelines.ts';
import type { WeightFormat } from '../tensor.ts';
import { Arena, ProbeCall } from './arena.ts';
import { FAST_GBPS, type Guard, guardOf, RISE_MS } from './clock_guard.ts';
import { benchCost } from './contents.ts';
import { dispatchLatencies, passCost, roundTrips, stepCosts, timerStep } from './latencies.ts';
import {
  arithmeticSpread,
  type Bench,
  checkProbes,
  computeUnits,
  readCurve,
  readRate,
  writeCurve,
} from './machine.ts';
import { measureWithin, type WithinOptions } from './mock_step.ts';
import type { ProbeShape } from './probe_shape.ts';
import { probeShapes } from './probe_shapes.ts';
import { KernelSetup, obstacle } from './setup.ts';
import { GpuClock, quantile, type Timing } from './timing.ts';

/** How much is measured, and who is told. */
export interface CalibrateOptions {
  /** Bytes of the buffer that is read at most. Default: 1 GiB, or 128 MiB where memory is slow. */
  readonly maxBytes?: number;
  /** Whether Dawn's bounds checks are on. Default true. */
  readonly boundsChecks?: boolean;
  /** Compressed formats whose kernels are probed too; 16-bit ones always are. */
  readonly formats?: readonly WeightFormat[];
  /** Only probes for which this holds; all by default. */
  readonly filter?: (probe: ProbeShape) => boolean;
  /** Called before each part with what it is, how many are done, and how many there are. */
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

const FAST_BYTES = 1024 ** 3;
const SLOW_BYTES = 128 * 1024 ** 2;

/** Calls that should take longer than this are left out: slow adapters get by with the smaller ones. */
const LONGEST_US = 12_000;

/** How probes are measured where memory is fast, and elsewhere. */
const STEADY = { pairs: 6, more: 6, passUs: 1500 } as const;
const BRIEF = { pairs: 4, more: 1, passUs: 200 } as const;

/** A reading that empties caches: of 128 MiB, beyond what those of large GPUs hold. */
const FLUSH = { vectors: 8 * 1024 ** 2, workgroups: 1024 } as const;

/** Calls that are compiled and bound before the first of them is timed: while the host is busy, the clock falls. */
const ABREAST = 16;

/** Least probes of a family's law; its five parameters hold each other where they begin. */
const LEAST_PROBES = 3;

/** Probes of a family with warm code. */
const WARM_PROBES = 2;

/** A probe with what was measured. */
interface Measured {
  readonly probe: ProbeShape;
  readonly work: Work;
  readonly distances: Distances;
  readonly timing: Timing;
}

/**
 * Calibrates an open adapter: about three minutes.
 *
 * Kernels are not checked here: a model's are, before it runs.
 *
 * @throws KernelError when a probe computes something wrong; DeviceError, DeviceLostError for what the device
 *   reports.
 */
export async function calibrate(gpu: Gpu, options: CalibrateOptions = {}): Promise<Calibration> {
  const begin = performance.now();
  const { onProgress = () => {}, filter = () => true, formats = [] } = options;
  const bench: Bench = { gpu, pipelines: new PipelineCache(gpu.device), clock: new GpuClock(gpu) };
  let arena: Arena | undefined;
  let guard: Guard | undefined;
  let flush: KernelSetup | undefined;
  let long: ProbeCall | undefined;
  const mock: ProbeCall[] = [];
  try {
    let done = 0;
    let parts = 200;
    const next = (what: string) => onProgress(what, done++, parts);
    next('checking the probes');
    await checkProbes(bench);
    next('arithmetic');
    const fma = await arithmeticSpread(bench, probe_fma);
    const half = gpu.caps.shaderF16 === true ? await arithmeticSpread(bench, probe_fma_f16) : null;
    const matrix = gpu.caps.matrixUnits ? await arithmeticSpread(bench, probe_matrix) : null;
    const units = await computeUnits(bench);
    next('dispatches');
    const latency = await dispatchLatencies(bench);
    const timer_ns = await timerStep(bench);
    next('bandwidth');
    const limit = Math.min(gpu.caps.maxBindingBytes, gpu.device.limits.maxBufferSize);
    const rate = await readRate(bench, Math.min(limit, SLOW_BYTES));
    const fast = rate > FAST_GBPS;
    const bytes = Math.min(limit, options.maxBytes ?? (fast ? FAST_BYTES : SLOW_BYTES));
    const read = await readCurve(bench, bytes, fast);
    const write = await writeCurve(bench, bytes, latency.dependent.median);
    const machine: Machine = { read, write, units, fma_tflops: fma, matrix_tflops: matrix };
    arena = new Arena(gpu, bytes);
    const short = shortEnough(probeShapes(gpu.caps, !fast, formats).filter(filter), gpu, machine);
    const shapes = fast ? [...short, ...warmed(short)] : short;
    parts = done + shapes.length + 2;
    next('a step to measure within');
    guard = await guardOf(bench, rate);
    for (const probe of unlike(shapes)) mock.push(await readied(bench, arena, probe));
    if (fast)
      flush = await KernelSetup.create(gpu, bench.pipelines, probe_read, FLUSH, probe_read.variants[0]);
    // Where calls run on a processor, others hardly matter, and would only hide what is measured.
    const within = fast ? { step: mock, flush, ...STEADY } : { step: [], flush, ...BRIEF };
    const measured: Measured[] = [];
    for (let at = 0; at < shapes.length; at += ABREAST) {
      const some = shapes.slice(at, at + ABREAST).map(({ probe }) => probe);
      const found = await timeProbes(bench, arena, some, within, guard, ({ kernel, shape }) =>
        next(`${kernel.name} ${shape}`),
      );
      measured.push(...found);
      gpu.check();
    }
    next('steps');
    const longest = measured.reduce((a, b) => (b.timing.us > a.timing.us ? b : a));
    long = await readied(bench, arena, longest.probe);
    await guard.rise(RISE_MS);
    const pass = await passCost(bench, mock);
    const steps = await stepCosts(bench, mock, { call: long, us: longest.timing.us });
    next('round trips');
    const trips = await roundTrips(bench);
    onProgress('done', parts, parts);
    gpu.check();
    const { vendor, architecture, device, description } = gpu.info;
    return {
      format: CALIBRATION_FORMAT,
      adapter: {
        ...{ vendor, architecture, device, description },
        bounds_checks: options.boundsChecks !== false,
        subgroup: Math.max(1, gpu.caps.subgroupMaxSize),
      },
      date: new Date().toISOString(),
      seconds: (performance.now() - begin) / 1000,
      clock: bench.clock.kind,
      timer_ns,
      read,
      write,
      fma_tflops: fma,
      fma_f16_tflops: half,
      matrix_tflops: matrix,
      units,
      dispatch_us: latency.dependent,
      independent_us: latency.independent,
      pass_us: pass,
      round_trip_us: trips,
      gap_us: steps.gap,
      host_step_us: steps.hostStep,
      host_dispatch_us: steps.hostDispatch,
      families: families(measured, machine, latency.dependent.median),
    };
  } finally {
    for (const call of mock) call.dispose();
    long?.dispose();
    flush?.dispose();
    guard?.dispose();
    arena?.dispose();
    bench.clock.dispose();
  }
}

/** The work of a probe, whose pairs are spread evenly over experts. */
export function probeWork(probe: ProbeShape, gpu: Gpu): Work {
  const { kernel, params, greedy } = probe;
  const variant = pickVariant(kernel, gpu.caps);
  const { context = 1 } = params as Partial<AttentionParams>;
  const work = workOf(
    { kernel, params, variant },
    { context, subgroup: Math.max(1, gpu.caps.subgroupMaxSize), greedy, even: true },
  );
  const cost = benchCost(kernel, params, 'even');
  const streamed = Math.max(0, work.streamed + cost.bytesRead - work.cost.bytesRead);
  return { ...work, cost, streamed };
}

/** A law without losses, for times that no call falls short of by much. */
const IDEAL: Law = {
  ...{ launch: 0, launchWarm: 0, launchCached: 0, workgroup: 0, iteration: 0, iterationCached: 0 },
  ...{ bandwidth: 1, arithmetic: 0.3 },
};

/** A probe and the microseconds that it could take at best. */
interface Expected {
  readonly probe: ProbeShape;
  readonly family: string;
  readonly us: number;
}

/** Far beyond what any cache holds. */
const FAR: Distances = { weights: Number.POSITIVE_INFINITY, code: Number.POSITIVE_INFINITY };

/** The probes that do not take long; of a family of long ones, the shortest that its law needs. */
function shortEnough(probes: readonly ProbeShape[], gpu: Gpu, machine: Machine): Expected[] {
  const timed = probes.map((probe) => {
    const work = probeWork(probe, gpu);
    const us = timeOf(termsOf(IDEAL, work, machine, FAR));
    return { probe, us, family: work.family };
  });
  return timed.filter((one) => {
    const shorter = timed.filter((other) => isAlike(other, one) && other.us < one.us).length;
    return one.us <= LONGEST_US || shorter < LEAST_PROBES;
  });
}

function isAlike(a: Expected, b: Expected): boolean {
  return a.family === b.family && a.probe.heat === b.probe.heat;
}

/** The shortest probes of each family, of whose times the launch is the largest part, with warm code. */
function warmed(probes: readonly Expected[]): Expected[] {
  const cold = probes.filter(({ probe }) => probe.heat === 'cold').sort((a, b) => a.us - b.us);
  return cold
    .filter((one, i) => cold.slice(0, i).filter((other) => isAlike(other, one)).length < WARM_PROBES)
    .map((one) => ({ ...one, probe: { ...one.probe, heat: 'warm' } }));
}

/** The shortest call of every kernel. */
function unlike(probes: readonly Expected[]): ProbeShape[] {
  const shortest = new Map<string, Expected>();
  for (const one of probes) {
    const known = shortest.get(one.probe.kernel.name);
    if (known === undefined || one.us < known.us) shortest.set(one.probe.kernel.name, one);
  }
  return [...shortest.values()].map(({ probe }) => probe);
}

/** A probe, compiled and bound. */
async function readied(
  { gpu, pipelines, clock }: Bench,
  arena: Arena,
  probe: ProbeShape,
): Promise<ProbeCall> {
  const { kernel, params, heat } = probe;
  const variant = pickVariant(kernel, gpu.caps);
  const { streamed } = probeWork(probe, gpu);
  const call = await ProbeCall.create(arena, pipelines, kernel, params, variant, heat === 'cached', streamed);
  // Drivers may put off part of the work until a pipeline is first used.
  await clock.pass((pass) => {
    call.freshen(pass);
    call.encode(pass, 1);
  });
  return call;
}

/** Readies all of `probes` that fit, then times them without a pause in between. */
async function timeProbes(
  bench: Bench,
  arena: Arena,
  probes: readonly ProbeShape[],
  within: Omit<WithinOptions, 'warm'>,
  guard: Guard,
  onProbe: (probe: ProbeShape) => void,
): Promise<Measured[]> {
  const { gpu, clock } = bench;
  const ready: { probe: ProbeShape; call: ProbeCall }[] = [];
  try {
    for (const probe of probes) {
      const { kernel, params } = probe;
      onProbe(probe);
      if (ProbeCall.streamedBytes(kernel, params) > arena.bytes) continue;
      if (obstacle(kernel, params, pickVariant(kernel, gpu.caps), gpu.caps) !== undefined) continue;
      ready.push({ probe, call: await readied(bench, arena, probe) });
    }
    await guard.rise(RISE_MS);
    const found: Measured[] = [];
    for (const { probe, call } of ready) {
      const flush = probe.heat === 'cached' ? undefined : within.flush;
      const options = { ...within, flush, warm: probe.heat === 'warm' };
      const timing = await guard.steady(() => measureWithin(clock, call, options));
      // A call that takes less than the clock's noise, which no law could be fitted to.
      if (timing.us <= 0) continue;
      const distances = { weights: call.workingSet, code: probe.heat === 'cold' ? FAR.code : 0 };
      found.push({ probe, work: probeWork(probe, gpu), distances, timing });
    }
    return found;
  } finally {
    for (const { call } of ready) call.dispose();
  }
}

/** Laws by family, with how well they fit. */
function families(
  measured: readonly Measured[],
  machine: Machine,
  dispatchUs: number,
): Record<string, Family> {
  const groups = new Map<string, Measured[]>();
  for (const one of measured) {
    groups.set(one.work.family, [...(groups.get(one.work.family) ?? []), one]);
  }
  const result: Record<string, Family> = {};
  for (const [family, members] of groups) {
    if (members.length < LEAST_PROBES) continue;
    const points = members.map(
      ({ work, distances, timing, probe }): FitPoint => ({
        work,
        distances,
        us: timing.us,
        heat: probe.heat,
      }),
    );
    const law = fitLaw(points, machine, dispatchUs);
    const probes = members.map(({ probe, work, distances, timing }) => ({
      kernel: probe.kernel.name,
      shape: probe.shape,
      heat: probe.heat,
      us: timing.us,
      p10: timing.p10,
      p90: timing.p90,
      predicted_us: timeOf(termsOf(law, work, machine, distances)),
    }));
    const errors = probes.map(({ us, predicted_us }) => Math.abs(predicted_us / us - 1));
    result[family] = { law, error_median: quantile(errors, 0.5), error_p90: quantile(errors, 0.9), probes };
  }
  if (Object.keys(result).length === 0) throw new DeviceError('no kernel family could be calibrated');
  return result;
}
