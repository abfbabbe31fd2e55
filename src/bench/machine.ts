/** Probes of the adapter itself: bandwidth by size, arithmetic, compute units, the clock. */
import type { BandwidthPoint, Spread } from '../cost/calibration.ts';
import { KernelError } from '../errors.ts';
import type { AnyKernel } from '../kernels/kernel.ts';
import { probe_copy } from '../kernels/probe_copy.ts';
import { probe_fma } from '../kernels/probe_fma.ts';
import { probe_fma_f16 } from '../kernels/probe_fma_f16.ts';
import { probe_matrix } from '../kernels/probe_matrix.ts';
import { type ProbeReadParams, probe_read } from '../kernels/probe_read.ts';
import { probe_write } from '../kernels/probe_write.ts';
import type { Gpu } from '../runtime/device.ts';
import type { PipelineCache } from '../runtime/pipelines.ts';
import { arithmeticTiming } from './ceilings.ts';
import { checkTestShapes } from './gate.ts';
import { KernelSetup } from './setup.ts';
import { type GpuClock, type MeasureOptions, measure, quantile, type Timing } from './timing.ts';

/** What probing needs. */
export interface Bench {
  readonly gpu: Gpu;
  readonly pipelines: PipelineCache;
  readonly clock: GpuClock;
}

/** Smallest buffer that is read. */
const LEAST_BYTES = 256 * 1024;

/** Microseconds of a sample, and milliseconds before it. */
const QUICK: MeasureOptions = { samples: 5, sampleUs: 400, warmMs: 30 };

/** Workgroups that are tried at the largest size: all, or the first few where memory is slow. */
const READ_WORKGROUPS = [1024, 256, 4096, 512, 2048, 8192];
const FEW_TRIES = 2;

/** Most bytes that are written: beyond caches, not more than needed. */
const MOST_WRITTEN = 256 * 1024 ** 2;

/** Median and percentiles of a list. */
export function spreadOf(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), p10: quantile(values, 0.1), p90: quantile(values, 0.9) };
}

/** A rate from times: fast ones are the upper percentile. */
function rateOf(amount: number, { us, p10, p90 }: Timing): Spread {
  return { median: amount / us, p10: amount / p90, p90: amount / p10 };
}

/** @throws KernelError when a probe computes something wrong on this adapter. */
export async function checkProbes({ gpu, pipelines }: Bench): Promise<void> {
  const probes: AnyKernel[] = [probe_read, probe_write, probe_copy, probe_fma];
  if (gpu.caps.shaderF16 === true) probes.push(probe_fma_f16);
  if (gpu.caps.matrixUnits) probes.push(probe_matrix);
  for (const kernel of probes) {
    const fault = await checkTestShapes(gpu, pipelines, kernel, kernel.variants[0]);
    if (fault !== undefined) throw new KernelError(kernel.name, fault);
  }
}

async function timed(
  { gpu, pipelines, clock }: Bench,
  kernel: AnyKernel,
  params: unknown,
  options: MeasureOptions = QUICK,
): Promise<Timing> {
  const setup = await KernelSetup.create(gpu, pipelines, kernel, params, kernel.variants[0]);
  try {
    return await measure(clock, setup.encode.bind(setup), options);
  } finally {
    setup.dispose();
  }
}

/** Sizes up to `most`, ascending. */
export function sizesUpTo(most: number, factor: number): number[] {
  const sizes: number[] = [];
  for (let bytes = LEAST_BYTES; bytes < most; bytes *= factor) sizes.push(bytes);
  return [...sizes, most];
}

function readParams(bytes: number, workgroups: number, rounds: number): ProbeReadParams {
  const vectors = Math.floor(bytes / 16);
  return { vectors, workgroups: Math.max(1, Math.min(workgroups, Math.floor(vectors / 1024))), rounds };
}

/** GB/s of reading a buffer once. */
export async function readRate(bench: Bench, bytes: number): Promise<number> {
  const { us } = await timed(bench, probe_read, readParams(bytes, READ_WORKGROUPS[0], 1));
  return bytes / us / 1e3;
}

/**
 * Bandwidth of reading buffers of growing size again and again within a dispatch, as many times as make a long one, so
 * that starting it does not matter. `most`: bytes of the largest; `fast`: in steps of 2, not of 4, and with more care.
 */
export async function readCurve(bench: Bench, most: number, fast: boolean): Promise<BandwidthPoint[]> {
  let best = { us: Number.POSITIVE_INFINITY, workgroups: READ_WORKGROUPS[0] };
  for (const workgroups of fast ? READ_WORKGROUPS : READ_WORKGROUPS.slice(0, FEW_TRIES)) {
    const { us } = await timed(bench, probe_read, readParams(most, workgroups, 1), { ...QUICK, samples: 3 });
    if (us < best.us) best = { us, workgroups };
  }
  const points: BandwidthPoint[] = [];
  for (const bytes of sizesUpTo(most, fast ? 2 : 4)) {
    // Bytes that memory gives in the time of a sample; caches give more.
    const wanted = (most / best.us) * (QUICK.sampleUs ?? 0);
    const rounds = 2 ** Math.max(0, Math.round(Math.log2(wanted / bytes)));
    const timing = await timed(bench, probe_read, readParams(bytes, best.workgroups, rounds));
    points.push({ bytes, ...rateOf((bytes * rounds) / 1e3, timing) });
  }
  return points;
}

/** Bandwidth of writing buffers of growing size, without the time of starting a dispatch, `dispatchUs`. */
export async function writeCurve(bench: Bench, most: number, dispatchUs: number): Promise<BandwidthPoint[]> {
  const points: BandwidthPoint[] = [];
  for (const bytes of sizesUpTo(Math.min(most, MOST_WRITTEN), 4)) {
    const vectors = Math.floor(bytes / 16);
    const workgroups = Math.min(4096, Math.floor(vectors / 256));
    const timing = await timed(bench, probe_write, { vectors, workgroups });
    const net = (us: number) => Math.max(us / 10, us - dispatchUs);
    const times = { ...timing, us: net(timing.us), p10: net(timing.p10), p90: net(timing.p90) };
    points.push({ bytes, ...rateOf(bytes / 1e3, times) });
  }
  return points;
}

/** TFLOP/s of chains of multiply-adds, or of products of matrices. */
export async function arithmeticSpread(
  { gpu, pipelines, clock }: Bench,
  kernel: typeof probe_fma | typeof probe_matrix,
): Promise<Spread> {
  const { flops, timing } = await arithmeticTiming(gpu, pipelines, clock, kernel);
  return rateOf(flops / 1e6, timing);
}

/** Most compute units that are looked for. */
const MOST_UNITS = 4096;

/** A wave more shows as a time longer by more than this. */
const LONGER = 1.35;

/** How many workgroups of the arithmetic probe take hardly longer than one. */
export async function computeUnits(bench: Bench): Promise<number> {
  let rounds = 256;
  const us = async (workgroups: number): Promise<number> =>
    (await timed(bench, probe_fma, { rounds, workgroups }, { samples: 5, sampleUs: 100, warmMs: 5 })).us;
  let one = await us(1);
  for (; one < 40 && rounds < 65536; one = await us(1)) rounds *= 4;
  let low = 1;
  let high = 2;
  while (high <= MOST_UNITS && (await us(high)) < one * LONGER) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if ((await us(middle)) < one * LONGER) low = middle;
    else high = middle;
  }
  return low;
}
