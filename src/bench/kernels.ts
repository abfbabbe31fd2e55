/** Times kernels one by one: the gate first, then GPU time over copies of weights that caches do not hold. */

import { DeviceLostError, Step3Error } from '../errors.ts';
import type { Gpu } from '../runtime/device.ts';
import type { PipelineCache } from '../runtime/pipelines.ts';
import type { BenchCase } from './cases.ts';
import { arithmeticOf, type Ceilings } from './ceilings.ts';
import { type Guard, guardOf, RISE_MS } from './clock_guard.ts';
import { benchCost } from './contents.ts';
import { checkSpots, checkTestShapes } from './gate.ts';
import type { Bench } from './machine.ts';
import { KernelSetup, OUT_OF_MEMORY, obstacle } from './setup.ts';
import { type GpuClock, measure, type Timing } from './timing.ts';

/** What a timed call reached. */
export interface Rates extends Timing {
  /** Bytes read and written as declared, per time. */
  readonly gbps: number;
  readonly tflops: number;
  /** Of the measured read bandwidth and rate of multiply-adds, in percent. */
  readonly bandwidthPercent: number;
  readonly flopsPercent: number;
  /** Copies of weights and caches that took turns. */
  readonly copies: number;
}

/** One row: timed, impossible on this adapter, or wrong. */
export type KernelRow = {
  readonly kernel: string;
  readonly variant: string;
  readonly shape: string;
  readonly params: unknown;
} & (
  | ({ readonly status: 'ok' } & Rates)
  | { readonly status: 'skipped'; readonly reason: string }
  | { readonly status: 'failed'; readonly reason: string }
);

/**
 * Yields a row per case. A kernel that disagrees with its reference is not timed; its row says why. `footprint`: bytes that copies
 * of weights and caches have together, where they are not too small for that; as many as no cache holds when absent.
 *
 * @throws DeviceLostError when the device goes away.
 */
export async function* benchKernels(
  gpu: Gpu,
  pipelines: PipelineCache,
  clock: GpuClock,
  cases: readonly BenchCase[],
  ceilings: Ceilings,
  footprint?: number,
): AsyncGenerator<KernelRow, void, void> {
  const bench = { gpu, pipelines, clock };
  const guard = await guardOf(bench, ceilings.readGBs);
  try {
    await guard.rise(RISE_MS);
    yield* rowsOf({ ...bench, guard, footprint }, cases, ceilings);
  } finally {
    guard.dispose();
  }
}

/** What rows are measured with. */
type Guarded = Bench & { readonly guard: Guard; readonly footprint: number | undefined };

async function* rowsOf(
  bench: Guarded,
  cases: readonly BenchCase[],
  ceilings: Ceilings,
): AsyncGenerator<KernelRow, void, void> {
  const { gpu, pipelines } = bench;
  const checked = new Map<string, string | undefined>();
  for (const { kernel, variant, shape, params } of cases) {
    const row = { kernel: kernel.name, variant: variant.name, shape, params };
    const reason = obstacle(kernel, params, variant, gpu.caps);
    if (reason !== undefined) {
      yield { ...row, status: 'skipped', reason };
      continue;
    }
    try {
      const key = `${kernel.name} ${variant.name}`;
      if (!checked.has(key)) checked.set(key, await checkTestShapes(gpu, pipelines, kernel, variant));
      const fault = checked.get(key);
      if (fault !== undefined) yield { ...row, status: 'failed', reason: fault };
      else yield { ...row, ...(await timeCase(bench, ceilings, kernel, variant, params)) };
    } catch (error) {
      if (error instanceof DeviceLostError || !(error instanceof Step3Error)) throw error;
      const status = error.facts === OUT_OF_MEMORY ? 'skipped' : 'failed';
      yield { ...row, status, reason: error.message };
    }
  }
}

async function timeCase(
  { gpu, pipelines, clock, guard, footprint }: Guarded,
  ceilings: Ceilings,
  kernel: BenchCase['kernel'],
  variant: BenchCase['variant'],
  params: unknown,
): Promise<({ status: 'ok' } & Rates) | { status: 'failed'; reason: string }> {
  const setup = await KernelSetup.create(gpu, pipelines, kernel, params, variant, 'drawn', footprint);
  try {
    const fault = await checkSpots(kernel, params, variant, setup, clock);
    if (fault !== undefined) return { status: 'failed', reason: fault };
    // The GPU idled while the host reckoned.
    await guard.rise();
    const timing = await guard.steady(() => measure(clock, setup.encode.bind(setup)));
    const cost = benchCost(kernel, params, 'drawn');
    const gbps = (cost.bytesRead + cost.bytesWritten) / timing.us / 1e3;
    const tflops = cost.flops / timing.us / 1e6;
    return {
      status: 'ok',
      ...timing,
      gbps,
      tflops,
      bandwidthPercent: (gbps / ceilings.readGBs) * 100,
      flopsPercent: (tflops / arithmeticOf(ceilings, [variant])) * 100,
      copies: setup.copies,
    };
  } finally {
    setup.dispose();
  }
}
