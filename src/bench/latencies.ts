/** Probes of what lies between dispatches: barriers, changes of pipeline, passes, submits, the host. */
import type { Spread } from '../cost/calibration.ts';
import { probe_fma } from '../kernels/probe_fma.ts';
import type { ProbeCall } from './arena.ts';
import { type Bench, spreadOf } from './machine.ts';
import { KernelSetup } from './setup.ts';
import { measure, quantile, readTimestamps } from './timing.ts';

/** A call with the microseconds that it takes when it follows itself. */
export interface TimedCall {
  readonly call: ProbeCall;
  readonly us: number;
}

const ONE = { rounds: 1, workgroups: 1 } as const;

/** Dispatches that have nothing to do with each other, in one pass. */
const INDEPENDENT = 256;

/** Dispatches of one workgroup that wait for each other, and such that need not. */
export async function dispatchLatencies(bench: Bench): Promise<{ dependent: Spread; independent: Spread }> {
  const { gpu, pipelines, clock } = bench;
  const make = () => KernelSetup.create(gpu, pipelines, probe_fma, ONE, probe_fma.variants[0]);
  const own: KernelSetup[] = [];
  try {
    for (let i = 0; i < INDEPENDENT; i++) own.push(await make());
    const { us, p10, p90 } = await measure(clock, own[0].encode.bind(own[0]), { sampleUs: 1000 });
    const times: number[] = [];
    for (let sample = 0; sample < 15; sample++) {
      const all = await clock.pass((pass) => {
        for (const setup of own) setup.encode(pass, 1);
      });
      times.push(all / INDEPENDENT);
    }
    return { dependent: { median: us, p10, p90 }, independent: spreadOf(times.slice(3)) };
  } finally {
    for (const setup of own) setup.dispose();
  }
}

/** Smallest difference between two times of the clock that differ, in nanoseconds. */
export async function timerStep({ gpu, pipelines, clock }: Bench): Promise<number> {
  const times = new Set<number>();
  const setup = await KernelSetup.create(gpu, pipelines, probe_fma, ONE, probe_fma.variants[0]);
  try {
    for (let i = 0; i < 60; i++) {
      times.add(Math.round((await clock.pass((pass) => setup.encode(pass, 1 + (i % 5)))) * 1000));
    }
  } finally {
    setup.dispose();
  }
  const sorted = [...times].sort((a, b) => a - b);
  const steps = sorted.slice(1).map((time, i) => time - sorted[i]);
  return steps.length === 0 ? 1 : Math.max(1, Math.min(...steps));
}

/** Times through the chain in one pass. */
const REPEATS = 8;

/**
 * What a dispatch costs more when the one before used another pipeline: the calls of a chain in turn, less each of them
 * several times in a row, sample by sample.
 */
export async function switchCost({ clock }: Bench, chain: readonly TimedCall[]): Promise<Spread> {
  const samples: number[] = [];
  for (let sample = 0; sample < 15; sample++) {
    const apart = await clock.pass((pass) => {
      for (const { call } of chain) call.encode(pass, REPEATS);
    });
    const mixed = await clock.pass((pass) => {
      for (let i = 0; i < REPEATS; i++) for (const { call } of chain) call.encode(pass, 1);
    });
    // In a row, too, the first of each follows another pipeline.
    samples.push((mixed - apart) / (chain.length * (REPEATS - 1)));
  }
  return spreadOf(samples.slice(3));
}

/** What a pass of a single dispatch shows beyond the dispatch's own time, over the calls of a chain. */
export async function passCost(bench: Bench, chain: readonly TimedCall[]): Promise<Spread> {
  const { gpu } = bench;
  if (!gpu.timestamps) return { median: 0, p10: 0, p90: 0 };
  const { device } = gpu;
  const count = chain.length * REPEATS;
  const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * count });
  const size = count * 16;
  const resolved = device.createBuffer({
    size,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
  try {
    const extra: number[] = [];
    for (let sample = 0; sample < 7; sample++) {
      const encoder = device.createCommandEncoder();
      for (let i = 0; i < count; i++) {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        chain[i % chain.length].call.encode(pass, 1);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, 2 * count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
      device.queue.submit([encoder.finish()]);
      const words = await readTimestamps(gpu, staging);
      // The first sample warms up.
      if (sample === 0) continue;
      chain.forEach(({ us }, at) => {
        const spans = Array.from({ length: REPEATS }, (_, i) => {
          const span = 2 * (i * chain.length + at);
          return Number(words[span + 1] - words[span]) / 1000;
        });
        extra.push(quantile(spans, 0.5) - us);
      });
    }
    return spreadOf(extra);
  } finally {
    querySet.destroy();
    resolved.destroy();
    staging.destroy();
  }
}

/** Submits that are under way at a time, as in generation. */
const DEPTH = 4;

/** Microseconds of submits that follow each other. */
interface Stream {
  /** Between the arrivals of successive results. */
  readonly intervals: readonly number[];
  /** On the device. */
  readonly spans: readonly number[];
  /** Of the host to encode and submit. */
  readonly encodes: readonly number[];
}

/** Runs the chain again and again, `repeats` times per submit, with a small readback each, as decoding does. */
async function stream(
  { gpu }: Bench,
  chain: readonly TimedCall[],
  repeats: number,
  submits: number,
): Promise<Stream> {
  const { device } = gpu;
  const querySet = gpu.timestamps
    ? device.createQuerySet({ type: 'timestamp', count: 2 * DEPTH })
    : undefined;
  const source = device.createBuffer({
    size: 16,
    usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.QUERY_RESOLVE,
  });
  const staging = Array.from({ length: DEPTH }, () =>
    device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ }),
  );
  const encodes: number[] = [];
  const arrivals: number[] = [];
  const spans: number[] = [];
  const issue = async (i: number): Promise<void> => {
    const at = i % DEPTH;
    const begin = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass(
      querySet === undefined
        ? {}
        : {
            timestampWrites: {
              querySet,
              beginningOfPassWriteIndex: 2 * at,
              endOfPassWriteIndex: 2 * at + 1,
            },
          },
    );
    for (let r = 0; r < repeats; r++) for (const { call } of chain) call.encode(pass, 1);
    pass.end();
    if (querySet !== undefined) encoder.resolveQuerySet(querySet, 2 * at, 2, source, 0);
    encoder.copyBufferToBuffer(source, 0, staging[at], 0, 16);
    device.queue.submit([encoder.finish()]);
    encodes.push((performance.now() - begin) * 1000);
    const [first, last] = await readTimestamps(gpu, staging[at]);
    spans.push(Number(last - first) / 1000);
  };
  try {
    const queue: Promise<void>[] = [];
    for (let done = 0, issued = 0; done < submits; done++) {
      for (; issued < submits && queue.length < DEPTH; issued++) queue.push(issue(issued));
      await queue.shift();
      arrivals.push(performance.now());
    }
  } finally {
    querySet?.destroy();
    source.destroy();
    for (const buffer of staging) buffer.destroy();
  }
  const intervals = arrivals.slice(1).map((at, i) => (at - arrivals[i]) * 1000);
  return {
    intervals: intervals.slice(DEPTH),
    spans: spans.slice(DEPTH + 1),
    encodes: encodes.slice(DEPTH),
  };
}

/** What passes between steps on the device, and what the host takes per step and per dispatch. */
export async function stepCosts(
  bench: Bench,
  chain: readonly TimedCall[],
  long: TimedCall,
): Promise<{ gap: Spread; hostStep: Spread; hostDispatch: Spread }> {
  // Work that takes the device longer than the host: the intervals are those of the device.
  const repeats = Math.max(1, Math.ceil(1500 / long.us));
  const { intervals, spans } = await stream(bench, [long], repeats, 32);
  const gap = bench.gpu.timestamps
    ? spreadOf(intervals.map((interval, i) => interval - spans[i]))
    : { median: 0, p10: 0, p90: 0 };
  const few = spreadOf((await stream(bench, chain, 1, 40)).encodes);
  const more = 24;
  const many = spreadOf((await stream(bench, chain, more, 24)).encodes);
  return { gap, ...lineThrough(few, many, chain.length, chain.length * more) };
}

/**
 * The line through two spreads of host times, those of steps of `fewCalls` and of `manyCalls` dispatches: microseconds per
 * step and per dispatch. Percentiles are those of the steepest and the flattest line, so that they keep their order.
 */
export function lineThrough(
  few: Spread,
  many: Spread,
  fewCalls: number,
  manyCalls: number,
): { hostStep: Spread; hostDispatch: Spread } {
  const slope = (a: number, b: number) => Math.max(0, (b - a) / (manyCalls - fewCalls));
  const hostDispatch = {
    median: slope(few.median, many.median),
    p10: slope(few.p90, many.p10),
    p90: slope(few.p10, many.p90),
  };
  const start = (a: number, each: number) => Math.max(0, a - each * fewCalls);
  const hostStep = {
    median: start(few.median, hostDispatch.median),
    p10: start(few.p10, hostDispatch.p90),
    p90: start(few.p90, hostDispatch.p10),
  };
  return { hostStep, hostDispatch };
}

/** Submit and readback by the wall. */
export async function roundTrips({ clock }: Bench): Promise<Spread> {
  const times: number[] = [];
  for (let i = 0; i < 45; i++) times.push(await clock.roundTrip());
  return spreadOf(times.slice(5));
}
