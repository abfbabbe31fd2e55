/** Probes of what lies between dispatches: barriers, passes, submits, the host. */
import type { Spread } from '../cost/calibration.ts';
import { probe_fma } from '../kernels/probe_fma.ts';
import type { ProbeCall } from './arena.ts';
import { type Bench, spreadOf } from './machine.ts';
import { KernelSetup } from './setup.ts';
import { type EncodePass, measure, readTimestamps } from './timing.ts';

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

/** Pairs of passes, the first of which warm up. */
const PASS_PAIRS = 12;
const WARM_PAIRS = 3;

/** Times through the calls in the longer pass of a pair. */
const LONGER = 5;

/** What a pass shows by its timestamps beyond its calls: a pass of all calls once, less a share of one of several times. */
export async function passCost({ gpu, clock }: Bench, calls: readonly ProbeCall[]): Promise<Spread> {
  if (!gpu.timestamps) return { median: 0, p10: 0, p90: 0 };
  const through =
    (times: number): EncodePass =>
    (pass) => {
      for (let i = 0; i < times; i++) for (const call of calls) call.encode(pass, 1);
    };
  const encodes = Array.from({ length: 2 * PASS_PAIRS }, (_, i) => through(i % 2 === 0 ? 1 : LONGER));
  const times = await clock.passes(encodes);
  const extra = Array.from({ length: PASS_PAIRS }, (_, i) => {
    const [once, longer] = times.slice(2 * i, 2 * i + 2);
    return once - (longer - once) / (LONGER - 1);
  });
  return spreadOf(extra.slice(WARM_PAIRS));
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

/** Runs the calls again and again, `repeats` times per submit, with a small readback each, as decoding does. */
async function stream(
  { gpu }: Bench,
  calls: readonly ProbeCall[],
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
    device.createBuffer({
      label: 'stream readback',
      size: 16,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    }),
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
    for (let r = 0; r < repeats; r++) for (const call of calls) call.encode(pass, 1);
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

/** Microseconds of a step that takes the device longer than the host. */
const LONG_STEP_US = 1500;

/**
 * What passes between steps on the device, and what the host takes per step and per dispatch. `long`: a call, and the
 * microseconds that it takes.
 */
export async function stepCosts(
  bench: Bench,
  calls: readonly ProbeCall[],
  long: { readonly call: ProbeCall; readonly us: number },
): Promise<{ gap: Spread; hostStep: Spread; hostDispatch: Spread }> {
  // The intervals are those of the device.
  const repeats = Math.max(1, Math.ceil(LONG_STEP_US / long.us));
  const { intervals, spans } = await stream(bench, [long.call], repeats, 32);
  const gap = bench.gpu.timestamps
    ? spreadOf(intervals.map((interval, i) => interval - spans[i]))
    : { median: 0, p10: 0, p90: 0 };
  const few = spreadOf((await stream(bench, calls, 1, 40)).encodes);
  const more = 24;
  const many = spreadOf((await stream(bench, calls, more, 24)).encodes);
  return { gap, ...lineThrough(few, many, calls.length, calls.length * more) };
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
