/**
 * What probes are timed within: unlike calls in turn, as in a decoding step. A call that only follows itself finds its
 * code and its inputs in near caches, and takes up to half as long as within a step.
 */
import { DeviceError } from '../errors.ts';
import type { ProbeCall } from './arena.ts';
import { type EncodePass, type GpuClock, quantile, type Timing } from './timing.ts';

/** How much is measured of a call, and within what. */
export interface WithinOptions {
  /** The calls before it, which may be none. */
  readonly step: readonly ProbeCall[];
  /** Reads so much before them that no cache holds what they read before; absent for calls whose weights caches hold. */
  readonly flush: Pick<ProbeCall, 'encode'> | undefined;
  /** Whether the call has run before them, on other weights, as that of the layer before. */
  readonly warm: boolean;
  /** Pairs of passes, with the call and without it, after two that are not counted. */
  readonly pairs: number;
  /** Times that as many pairs are added while noise is too large. */
  readonly more: number;
  /** Microseconds of a pass, at least. */
  readonly passUs: number;
}

/** Most times through the step in a pass. */
const MAX_REPEATS = 64;

/** Pairs that are not counted. */
const UNCOUNTED = 2;

/** Error of the median, as a share of it, that is small enough. */
const STEADY_SHARE = 0.02;

/**
 * Times a call: passes through the step, in which the call's inputs are written last, with the call and without it, in turn.
 * Caches are flushed in both, or else what the call throws out of them would slow the others down, and be counted as its own.
 *
 * @throws what the device reports; DeviceError when no time passes on its clock.
 */
export async function measureWithin(
  clock: GpuClock,
  call: ProbeCall,
  { step, flush, warm, pairs, more, passUs }: WithinOptions,
): Promise<Timing> {
  // Calls that share its code would warm it.
  const others = step.filter(({ compiled }) => compiled.pipeline !== call.compiled.pipeline);
  const through =
    (repeats: number, own: boolean): EncodePass =>
    (pass) => {
      for (let i = 0; i < repeats; i++) {
        flush?.encode(pass, 1);
        if (warm) call.encode(pass, 1);
        for (const other of others) other.encode(pass, 1);
        call.freshen(pass);
        if (own) call.encode(pass, 1);
      }
    };
  const [, once] = await clock.passes([through(1, true), through(1, true)]);
  const repeats = Math.max(1, Math.min(MAX_REPEATS, Math.ceil(passUs / Math.max(once, 0.1))));
  const encodes = (count: number) =>
    Array.from({ length: 2 * count }, (_, i) => through(repeats, i % 2 === 1));
  await clock.passes(encodes(UNCOUNTED));
  const samples: number[] = [];
  let stood = true;
  for (let round = 0; round === 0 || (round <= more && !isSteady(samples)); round++) {
    const times = await clock.passes(encodes(pairs));
    stood &&= !times.some((us) => us > 0);
    for (let i = 0; i < pairs; i++) samples.push((times[2 * i + 1] - times[2 * i]) / repeats);
  }
  if (stood) throw new DeviceError(`the GPU clock stood still over ${repeats} steps`);
  return {
    us: quantile(samples, 0.5),
    p10: quantile(samples, 0.1),
    p90: quantile(samples, 0.9),
    samples: samples.length,
    dispatches: repeats,
  };
}

/** Whether the error of the median, estimated from the middle half of the samples, is small. */
function isSteady(samples: readonly number[]): boolean {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(samples, q));
  // Of a normal distribution: 1.25 standard deviations over the root of the count, one of which is 0.74 of that half.
  return (0.93 * (high - low)) / Math.sqrt(samples.length) < STEADY_SHARE * middle;
}
