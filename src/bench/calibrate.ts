/** Measures an adapter and fits the laws of the kernel families: everything that `predict` needs, from probes alone. */
import { CALIBRATION_FORMAT, type Calibration, type Family } from '../cost/calibration.ts';
import { type FitPoint, fitLaw } from '../cost/fit.ts';
import { type Law, type Machine, termsOf, timeOf } from '../cost/law.ts';
import { type Work, workOf } from '../cost/work.ts';
import { DeviceError } from '../errors.ts';
import { pickVariant } from '../kernels/kernel.ts';
import type { AttentionParams } from '../kernels/mfa_decode.ts';
import { probe_fma } from '../kernels/probe_fma.ts';
import { probe_fma_f16 } from '../kernels/probe_fma_f16.ts';
import { probe_matrix } from '../kernels/probe_matrix.ts';
import type { Gpu } from '../runtime/device.ts';
import { PipelineCache } from '../runtime/pipelines.ts';
import { Arena, ProbeCall } from './arena.ts';
import { benchCost } from './contents.ts';
import {
  dispatchLatencies,
  passCost,
  roundTrips,
  stepCosts,
  switchCost,
  type TimedCall,
  timerStep,
} from './latencies.ts';
import {
  arithmeticSpread,
  type Bench,
  checkProbes,
  computeUnits,
  readCurve,
  readRate,
  writeCurve,
} from './machine.ts';
import type { ProbeShape } from './probe_shape.ts';
import { probeShapes } from './probe_shapes.ts';
import { obstacle } from './setup.ts';
import { GpuClock, type MeasureOptions, measure, quantile, type Timing } from './timing.ts';

/** How much is measured, and who is told. */
export interface CalibrateOptions {
  /** Bytes of the buffer that is read at most. Default: 1 GiB, or 128 MiB where memory is slow. */
  readonly maxBytes?: number;
  /** Whether Dawn's bounds checks are on. Default true. */
  readonly boundsChecks?: boolean;
  /** Only probes for which this holds; all by default. */
  readonly filter?: (probe: ProbeShape) => boolean;
  /** Called before each part with what it is, how many are done, and how many there are. */
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

const FAST_BYTES = 1024 ** 3;
const SLOW_BYTES = 128 * 1024 ** 2;

/** GB/s from which memory counts as fast. */
const FAST_GBPS = 150;

/** Calls that should take longer than this are left out: slow adapters get by with the smaller ones. */
const LONGEST_US = 12_000;

/** How probes are measured: where memory is fast, after enough of the same for the clock to have risen. */
const LONG: MeasureOptions = { samples: 7, sampleUs: 300, warmMs: 25 };
const SHORT: MeasureOptions = { samples: 5, sampleUs: 200, warmMs: 2 };

/** Calls that are compiled and bound before the first of them is timed: while the host is busy, the clock falls. */
const ABREAST = 16;

/** Milliseconds of work after which a GPU that idled runs at its full clock. */
const RISE_MS = 400;

/** Least probes of a family's law; its five parameters hold each other where they begin. */
const LEAST_PROBES = 3;

/** A probe with what was measured. */
interface Measured {
  readonly probe: ProbeShape;
  readonly work: Work;
  readonly workingSet: number;
  readonly timing: Timing;
}

/**
 * Calibrates an open adapter: about half a minute on a large GPU, two minutes on a software driver.
 *
 * Kernels are not checked here: a model's are, before it runs.
 *
 * @throws KernelError when a probe computes something wrong; DeviceError, DeviceLostError for what the device
 *   reports.
 */
export async function calibrate(gpu: Gpu, options: CalibrateOptions = {}): Promise<Calibration> {
  const begin = performance.now();
  const { onProgress = () => {}, filter = () => true } = options;
  const bench: Bench = { gpu, pipelines: new PipelineCache(gpu.device), clock: new GpuClock(gpu) };
  let arena: Arena | undefined;
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
    const fast = (await readRate(bench, Math.min(limit, SLOW_BYTES))) > FAST_GBPS;
    const bytes = Math.min(limit, options.maxBytes ?? (fast ? FAST_BYTES : SLOW_BYTES));
    const read = await readCurve(bench, bytes, fast);
    const write = await writeCurve(bench, bytes, latency.dependent.median);
    const machine: Machine = { read, write, units, fma_tflops: fma, matrix_tflops: matrix };
    arena = new Arena(gpu, bytes);
    const shapes = shortEnough(probeShapes(gpu.caps, !fast).filter(filter), gpu, machine);
    parts = done + shapes.length + 2;
    const measured: Measured[] = [];
    const chain: TimedCall[] = [];
    let long: TimedCall | undefined;
    for (let at = 0; at < shapes.length; at += ABREAST) {
      const some = shapes.slice(at, at + ABREAST);
      const found = await timeProbes(bench, arena, some, fast, ({ kernel, shape }) =>
        next(`${kernel.name} ${shape}`),
      );
      measured.push(...found);
      gpu.check();
    }
    next('steps');
    for (const one of shortCalls(measured)) chain.push(await again(bench, arena, one, fast));
    const longest = measured.reduce((a, b) => (b.timing.us > a.timing.us ? b : a));
    long = await again(bench, arena, longest, fast);
    const switched = await switchCost(bench, chain);
    const pass = await passCost(bench, chain);
    const steps = await stepCosts(bench, chain, long);
    for (const { call } of [...chain, long]) call.dispose();
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
      switch_us: switched,
      pass_us: pass,
      round_trip_us: trips,
      gap_us: steps.gap,
      host_step_us: steps.hostStep,
      host_dispatch_us: steps.hostDispatch,
      families: families(measured, machine, latency.dependent.median),
    };
  } finally {
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
  const cost = benchCost(kernel, params);
  const streamed = Math.max(0, work.streamed + cost.bytesRead - work.cost.bytesRead);
  return { ...work, cost, streamed };
}

/** A law without losses, for times that no call falls short of by much. */
const IDEAL: Law = {
  ...{ launch: 0, launchCached: 0, workgroup: 0, iteration: 0, iterationCached: 0 },
  ...{ bandwidth: 1, arithmetic: 0.3 },
};

/** The probes that do not take long; of a family of long ones, the shortest that its law needs. */
function shortEnough(probes: readonly ProbeShape[], gpu: Gpu, machine: Machine): ProbeShape[] {
  const timed = probes.map((probe) => {
    const work = probeWork(probe, gpu);
    const us = timeOf(termsOf(IDEAL, work, machine, Number.POSITIVE_INFINITY));
    return { probe, us, family: `${work.family} ${probe.cached}` };
  });
  return timed
    .filter(({ us, family }) => {
      const shorter = timed.filter((other) => other.family === family && other.us < us).length;
      return us <= LONGEST_US || shorter < LEAST_PROBES;
    })
    .map(({ probe }) => probe);
}

/** Readies all of `probes` that fit, then times them without a pause in between. */
async function timeProbes(
  { gpu, pipelines, clock }: Bench,
  arena: Arena,
  probes: readonly ProbeShape[],
  fast: boolean,
  onProbe: (probe: ProbeShape) => void,
): Promise<Measured[]> {
  const ready: { probe: ProbeShape; call: ProbeCall }[] = [];
  try {
    for (const probe of probes) {
      const { kernel, params, cached } = probe;
      onProbe(probe);
      const variant = pickVariant(kernel, gpu.caps);
      if (ProbeCall.streamedBytes(kernel, params) > arena.bytes) continue;
      if (obstacle(kernel, params, variant, gpu.caps) !== undefined) continue;
      const { streamed } = probeWork(probe, gpu);
      const call = await ProbeCall.create(arena, pipelines, kernel, params, variant, cached, streamed);
      ready.push({ probe, call });
      // Drivers may put off part of the work until a pipeline is first used.
      await clock.pass((pass) => call.encode(pass, 1));
    }
    const found: Measured[] = [];
    for (const { probe, call } of ready) {
      const options = !fast ? SHORT : found.length === 0 ? { ...LONG, warmMs: RISE_MS } : LONG;
      const timing = await measure(clock, call.encode.bind(call), options);
      found.push({ probe, work: probeWork(probe, gpu), workingSet: call.workingSet, timing });
    }
    return found;
  } finally {
    for (const { call } of ready) call.dispose();
  }
}

/** The shortest call of each family, of the eight shortest families. */
function shortCalls(measured: readonly Measured[]): Measured[] {
  const shortest = new Map<string, Measured>();
  for (const one of measured) {
    const known = shortest.get(one.work.family);
    if (known === undefined || one.timing.us < known.timing.us) shortest.set(one.work.family, one);
  }
  return [...shortest.values()].sort((a, b) => a.timing.us - b.timing.us).slice(0, 8);
}

/** A measured probe, bound once more, and timed once more beside those that it will be compared with. */
async function again(
  bench: Bench,
  arena: Arena,
  { probe, work }: Measured,
  fast: boolean,
): Promise<TimedCall> {
  const { kernel, params, cached } = probe;
  const variant = pickVariant(kernel, bench.gpu.caps);
  const call = await ProbeCall.create(arena, bench.pipelines, kernel, params, variant, cached, work.streamed);
  const { us } = await measure(bench.clock, call.encode.bind(call), {
    samples: 7,
    sampleUs: 300,
    warmMs: fast ? 100 : 10,
  });
  return { call, us };
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
      ({ work, workingSet, timing, probe }): FitPoint => ({
        work,
        workingSet,
        us: timing.us,
        cached: probe.cached,
      }),
    );
    const law = fitLaw(points, machine, dispatchUs);
    const probes = members.map(({ probe, work, workingSet, timing }) => ({
      kernel: probe.kernel.name,
      shape: probe.shape,
      cached: probe.cached,
      us: timing.us,
      p10: timing.p10,
      p90: timing.p90,
      predicted_us: timeOf(termsOf(law, work, machine, workingSet)),
    }));
    const errors = probes.map(({ us, predicted_us }) => Math.abs(predicted_us / us - 1));
    result[family] = { law, error_median: quantile(errors, 0.5), error_p90: quantile(errors, 0.9), probes };
  }
  if (Object.keys(result).length === 0) throw new DeviceError('no kernel family could be calibrated');
  return result;
}
