/** GPU times of steps as generation runs them: two timestamps a step, read when all have run. */
import type { GpuExecutor, RunTimestamps } from '../runtime/gpu_executor.ts';
import { readTimestamps } from './timing.ts';

/** Most steps, or calls of a step that is profiled: two queries each, of at most 4096 in a query set. */
export const MAX_SPANS = 2048;

/** Timestamps of successive steps. */
export interface StepClock {
  /** Where a run that begins with this step leaves its times; undefined where there are no timestamps. */
  timestamps(step: number): RunTimestamps | undefined;
  /** Microseconds of every step, once they were queued; undefined where there are no timestamps. */
  spans(): Promise<number[] | undefined>;
  dispose(): void;
}

/** A clock for at most {@link MAX_SPANS} steps. */
export function stepClock(executor: GpuExecutor, steps: number): StepClock {
  const { gpu } = executor;
  if (!gpu.timestamps) {
    return { timestamps: () => undefined, spans: async () => undefined, dispose: () => {} };
  }
  const querySet = gpu.device.createQuerySet({ label: 'steps', type: 'timestamp', count: 2 * steps });
  return {
    timestamps: (step) => ({ querySet, first: 2 * step, perCall: false }),
    spans: () => resolveSpans(executor, querySet, steps),
    dispose: () => querySet.destroy(),
  };
}

/**
 * Microseconds between the two timestamps of each of `count` spans of a query set.
 *
 * @throws what the device reports.
 */
export async function resolveSpans(
  { gpu }: GpuExecutor,
  querySet: GPUQuerySet,
  count: number,
): Promise<number[]> {
  const size = count * 16;
  const { device } = gpu;
  const resolved = device.createBuffer({
    size,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  const staging = device.createBuffer({
    label: 'step clock readback',
    size,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  try {
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(querySet, 0, 2 * count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    const words = await readTimestamps(gpu, staging);
    return Array.from({ length: count }, (_, i) => Number(words[2 * i + 1] - words[2 * i]) / 1000);
  } finally {
    resolved.destroy();
    staging.destroy();
  }
}
