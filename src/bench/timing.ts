/** Times of GPU work: timestamps around a pass, repeated until a sample is long enough to be trusted. */
import { DeviceError } from '../errors.ts';
import type { Gpu } from '../runtime/device.ts';
import { mapBuffer } from '../runtime/upload.ts';

/** Microseconds of one dispatch, over several samples. */
export interface Timing {
  /** Median. */
  readonly us: number;
  readonly p10: number;
  readonly p90: number;
  readonly samples: number;
  /** Dispatches of each sample. */
  readonly dispatches: number;
}

/** How long and how often to measure. */
export interface MeasureOptions {
  /** Least samples. Default 7. */
  readonly samples?: number;
  /** Least microseconds of a sample. Default 200. */
  readonly sampleUs?: number;
  /** Milliseconds of the same work before samples are taken. Default 200: a GPU that idled starts at a low clock. */
  readonly warmMs?: number;
}

/** Most dispatches of a sample; more would only cost time on the host. */
const MAX_DISPATCHES = 4096;

/** Microseconds from which a pass is long beside what the host does between passes. */
const LONG_US = 2000;

/** Microseconds in all up to which more samples than asked for are taken: cheap, and steadier. */
const BUDGET_US = 20_000;

/** Most samples. */
const MAX_SAMPLES = 25;

/** Passes of a submit. */
const MAX_PASSES = 32;

/** Encodes the dispatches of a pass. */
export type EncodePass = (pass: GPUComputePassEncoder) => void;

/** Encodes some number of dispatches into a pass. */
export type Encode = (pass: GPUComputePassEncoder, dispatches: number) => void;

/** Runs passes one at a time and says how long each took: by GPU timestamps, or by the wall where there are none. */
export class GpuClock {
  /** `gpu`: timestamps; `wall`: from the submit until the host knows that it is done. */
  readonly kind: 'gpu' | 'wall';
  readonly #gpu: Gpu;
  readonly #queries: GPUQuerySet | undefined;
  readonly #resolved: GPUBuffer;
  readonly #staging: GPUBuffer;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.kind = gpu.timestamps ? 'gpu' : 'wall';
    this.#queries = gpu.timestamps
      ? gpu.device.createQuerySet({ label: 'clock', type: 'timestamp', count: 2 * MAX_PASSES })
      : undefined;
    this.#resolved = gpu.device.createBuffer({
      label: 'clock',
      size: 16 * MAX_PASSES,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    this.#staging = gpu.device.createBuffer({
      label: 'clock readback',
      size: 16 * MAX_PASSES,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
  }

  /**
   * Runs one pass and returns its microseconds.
   *
   * @throws what the device reports.
   */
  async pass(encode: EncodePass): Promise<number> {
    return (await this.#submit([encode]))[0];
  }

  /**
   * Runs passes and returns the microseconds of each: with timestamps in submits of as many as fit, so that the GPU does
   * not wait for the host between them.
   *
   * @throws what the device reports.
   */
  async passes(encodes: readonly EncodePass[]): Promise<number[]> {
    const each = this.kind === 'gpu' ? MAX_PASSES : 1;
    const times: number[] = [];
    for (let at = 0; at < encodes.length; at += each) {
      times.push(...(await this.#submit(encodes.slice(at, at + each))));
    }
    return times;
  }

  async #submit(encodes: readonly EncodePass[]): Promise<number[]> {
    const { device } = this.#gpu;
    const querySet = this.#queries;
    const encoder = device.createCommandEncoder();
    encodes.forEach((encode, i) => {
      const pass = encoder.beginComputePass(
        querySet === undefined
          ? {}
          : {
              timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
            },
      );
      encode(pass);
      pass.end();
    });
    const size = 16 * encodes.length;
    if (querySet !== undefined) encoder.resolveQuerySet(querySet, 0, 2 * encodes.length, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#staging, 0, size);
    const commands = encoder.finish();
    const start = performance.now();
    device.queue.submit([commands]);
    const words = await readTimestamps(this.#gpu, this.#staging);
    const wall = (performance.now() - start) * 1000;
    if (querySet === undefined) return [wall];
    return encodes.map((_, i) => Number(words[2 * i + 1] - words[2 * i]) / 1000);
  }

  /** Microseconds by the wall from submitting an empty command buffer with a copy until its result is readable. */
  async roundTrip(): Promise<number> {
    const encoder = this.#gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#staging, 0, 16);
    const commands = encoder.finish();
    const start = performance.now();
    this.#gpu.device.queue.submit([commands]);
    await readTimestamps(this.#gpu, this.#staging);
    return (performance.now() - start) * 1000;
  }

  dispose(): void {
    this.#queries?.destroy();
    this.#resolved.destroy();
    this.#staging.destroy();
  }
}

/**
 * The 64-bit words of a buffer that timestamps were copied to, in nanoseconds.
 *
 * @throws DeviceLostError when the device goes away; DeviceError for what it reports.
 */
export async function readTimestamps(gpu: Gpu, staging: GPUBuffer): Promise<BigUint64Array> {
  await mapBuffer(gpu, staging, GPUMapMode.READ);
  const words = new BigUint64Array(staging.getMappedRange().slice(0));
  staging.unmap();
  gpu.check();
  return words;
}

/**
 * Measures `encode` per dispatch, after passes that are not counted.
 *
 * @throws what the device reports; DeviceError when no time passes on its clock.
 */
export async function measure(
  clock: GpuClock,
  encode: Encode,
  options: MeasureOptions = {},
): Promise<Timing> {
  const { samples: least = 7, sampleUs = 200, warmMs = 200 } = options;
  const run = (dispatches: number) => clock.pass((pass) => encode(pass, dispatches));
  await run(1);
  let dispatches = 1;
  let us = await run(dispatches);
  while (us < sampleUs && dispatches < MAX_DISPATCHES) {
    const wanted = us > 0 ? Math.ceil((dispatches * sampleUs * 1.2) / us) : dispatches * 16;
    dispatches = Math.min(MAX_DISPATCHES, Math.max(dispatches * 2, wanted));
    us = await run(dispatches);
  }
  const warm = performance.now() + warmMs;
  // In longer passes, so that the GPU hardly waits for the host.
  const longer = us < LONG_US ? Math.min(MAX_DISPATCHES, dispatches * 4) : dispatches;
  while (performance.now() < warm) await run(longer);
  const samples: number[] = [];
  let total = 0;
  while (samples.length < least || (total < BUDGET_US && samples.length < MAX_SAMPLES)) {
    const sample = await run(dispatches);
    total += sample;
    samples.push(sample / dispatches);
  }
  const timing = {
    us: quantile(samples, 0.5),
    p10: quantile(samples, 0.1),
    p90: quantile(samples, 0.9),
    samples: samples.length,
    dispatches,
  };
  if (!(timing.us > 0)) throw new DeviceError(`the GPU clock stood still over ${dispatches} dispatches`);
  return timing;
}

/** The q-quantile of values in any order, linear between neighbours; NaN when there are none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}
