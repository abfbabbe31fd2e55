/** What the adapter can do at best, measured beside the kernels: the percentages in tables refer to these. */
import { KernelError } from '../errors.ts';
import { MATRIX_UNITS, type Variant } from '../kernels/kernel.ts';
import { probe_fma } from '../kernels/probe_fma.ts';
import { probe_matrix } from '../kernels/probe_matrix.ts';
import { probe_read } from '../kernels/probe_read.ts';
import type { Gpu } from '../runtime/device.ts';
import type { PipelineCache } from '../runtime/pipelines.ts';
import { checkTestShapes } from './gate.ts';
import { KernelSetup } from './setup.ts';
import { type GpuClock, measure, quantile, type Timing } from './timing.ts';

/** Rates and latencies of an adapter. */
export interface Ceilings {
  /** Bytes per second of reading a buffer far larger than caches, in GB/s. */
  readonly readGBs: number;
  /** Bytes of that buffer. */
  readonly readBytes: number;
  /** f32 multiply-adds, two operations each, in TFLOP/s. */
  readonly fmaTFLOPs: number;
  /** Products of f16 matrices with f32 sums on matrix units, in TFLOP/s; absent where there are none. */
  readonly matrixTFLOPs?: number | undefined;
  /** Microseconds of a dispatch of one workgroup that waits for the one before it. */
  readonly dispatchUs: number;
  /** Microseconds by the wall from a submit until its result is on the host. */
  readonly roundTripUs: number;
}

/** TFLOP/s that calls of these variants are measured against: those of matrix units where one of them uses these. */
export function arithmeticOf(ceilings: Ceilings, variants: readonly Variant[]): number {
  const matrix = variants.includes(MATRIX_UNITS) ? ceilings.matrixTFLOPs : undefined;
  return matrix ?? ceilings.fmaTFLOPs;
}

/** Largest buffer that is read, where the adapter allows it. */
const READ_BYTES = 1024 ** 3;

/** A read of this many microseconds is long enough, whatever the size. */
const LONG_US = 50_000;

/** Least microseconds of a sample. */
const SAMPLE_US = 1000;

/** Workgroups that are tried: how many suit an adapter is not known in advance. */
const READ_WORKGROUPS = [512, 1024, 2048, 4096, 8192];

/** Workgroups of the arithmetic probes: several for every core of any adapter. */
const FMA_WORKGROUPS = 4096;
const MAX_ROUNDS = 16384;

/**
 * Measures an adapter; takes about a second.
 *
 * @throws KernelError when a probe does not compile or computes something wrong; what the device reports.
 */
export async function measureCeilings(
  gpu: Gpu,
  pipelines: PipelineCache,
  clock: GpuClock,
): Promise<Ceilings> {
  const probes = [probe_read, probe_fma, ...(gpu.caps.matrixUnits ? [probe_matrix] : [])];
  for (const probe of probes) {
    const fault = await checkTestShapes(gpu, pipelines, probe, probe.variants[0]);
    if (fault !== undefined) throw new KernelError(probe.name, fault);
  }
  const read = await readRate(gpu, pipelines, clock);
  return {
    readGBs: read.gbs,
    readBytes: read.bytes,
    fmaTFLOPs: await arithmeticRate(gpu, pipelines, clock, probe_fma),
    matrixTFLOPs: gpu.caps.matrixUnits
      ? await arithmeticRate(gpu, pipelines, clock, probe_matrix)
      : undefined,
    dispatchUs: await dispatchLatency(gpu, pipelines, clock),
    roundTripUs: await roundTrip(clock),
  };
}

/** Grows the buffer until caches do not matter or a read takes long, then takes the best number of workgroups. */
async function readRate(
  gpu: Gpu,
  pipelines: PipelineCache,
  clock: GpuClock,
): Promise<{ gbs: number; bytes: number }> {
  const most = Math.min(READ_BYTES, gpu.caps.maxBindingBytes);
  let bytes = Math.min(most, 16 * 1024 ** 2);
  const once = async (workgroups: number, samples: number): Promise<number> => {
    const params = { vectors: Math.floor(bytes / 16), workgroups };
    const setup = await KernelSetup.create(gpu, pipelines, probe_read, params, probe_read.variants[0]);
    try {
      const encode = setup.encode.bind(setup);
      return (await measure(clock, encode, { samples, sampleUs: SAMPLE_US })).us;
    } finally {
      setup.dispose();
    }
  };
  let us = await once(READ_WORKGROUPS[0], 1);
  while (bytes < most && us < LONG_US) {
    bytes = Math.min(most, bytes * 4);
    us = await once(READ_WORKGROUPS[0], 1);
  }
  let best = Number.POSITIVE_INFINITY;
  for (const workgroups of READ_WORKGROUPS) best = Math.min(best, await once(workgroups, 7));
  return { gbs: bytes / best / 1e3, bytes };
}

async function arithmeticRate(...args: Parameters<typeof arithmeticTiming>): Promise<number> {
  const { flops, timing } = await arithmeticTiming(...args);
  return flops / timing.us / 1e6;
}

/** Lengthens the chains until starting them does not matter; the FLOPs of a dispatch and its times. */
export async function arithmeticTiming(
  gpu: Gpu,
  pipelines: PipelineCache,
  clock: GpuClock,
  probe: typeof probe_fma | typeof probe_matrix,
): Promise<{ flops: number; timing: Timing }> {
  for (let rounds = 16; ; rounds *= 4) {
    const params = { rounds, workgroups: FMA_WORKGROUPS };
    const setup = await KernelSetup.create(gpu, pipelines, probe, params, probe.variants[0]);
    try {
      const long = await clock.pass((pass) => setup.encode(pass, 1));
      if (long < SAMPLE_US && rounds < MAX_ROUNDS) continue;
      const timing = await measure(clock, setup.encode.bind(setup), { sampleUs: SAMPLE_US });
      return { flops: probe.cost(params).flops, timing };
    } finally {
      setup.dispose();
    }
  }
}

/** Dispatches that write what the one before them wrote, so that each waits for its predecessor. */
async function dispatchLatency(gpu: Gpu, pipelines: PipelineCache, clock: GpuClock): Promise<number> {
  const params = { rounds: 1, workgroups: 1 };
  const setup = await KernelSetup.create(gpu, pipelines, probe_fma, params, probe_fma.variants[0]);
  try {
    return (await measure(clock, setup.encode.bind(setup), { sampleUs: SAMPLE_US })).us;
  } finally {
    setup.dispose();
  }
}

async function roundTrip(clock: GpuClock): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 25; i++) times.push(await clock.roundTrip());
  // The first ones warm the host up.
  return quantile(times.slice(5), 0.5);
}
