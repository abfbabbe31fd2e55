/**
 * What probes are timed within: unlike calls in turn, as in a decoding step. A call that only follows itself finds its
 * code and its inputs in near caches, and takes up to half as long as within a step.
 */
import { DeviceError } from '../errors.ts';
import { probe_fma } from '../kernels/probe_fma.ts';
import type { ProbeCall } from './arena.ts';
import type { Bench } from './machine.ts';
import { KernelSetup } from './setup.ts';
import { type EncodePass, type GpuClock, quantile, type Timing } from './timing.ts';

/** How much is measured of a call. */
export interface WithinOptions {
  /** Pairs of passes, with the call and without it, after two that are not counted. */
  readonly pairs: number;
  /** Microseconds of a pass, at least. */
  readonly passUs: number;
}

/** Most times through the step in a pass. */
const MAX_REPEATS = 64;

/** Pairs that are not counted. */
const UNCOUNTED = 2;

/**
 * Times a call that follows the calls of `step`: passes through the step, in which its inputs are written last, with the
 * call and without it, in turn. `step` may be empty.
 *
 * @throws what the device reports; DeviceError when no time passes on its clock.
 */
export async function measureWithin(
  clock: GpuClock,
  step: readonly ProbeCall[],
  call: ProbeCall,
  { pairs, passUs }: WithinOptions,
): Promise<Timing> {
  const through =
    (repeats: number, own: boolean): EncodePass =>
    (pass) => {
      for (let i = 0; i < repeats; i++) {
        for (const other of step) other.encode(pass, 1);
        call.freshen(pass);
        if (own) call.encode(pass, 1);
      }
    };
  const [, once] = await clock.passes([through(1, true), through(1, true)]);
  const repeats = Math.max(1, Math.min(MAX_REPEATS, Math.ceil(passUs / Math.max(once, 0.1))));
  const encodes = Array.from({ length: 2 * (pairs + UNCOUNTED) }, (_, i) => through(repeats, i % 2 === 1));
  const times = (await clock.passes(encodes)).slice(2 * UNCOUNTED);
  const samples = Array.from({ length: pairs }, (_, i) => (times[2 * i + 1] - times[2 * i]) / repeats);
  const timing = {
    us: quantile(samples, 0.5),
    p10: quantile(samples, 0.1),
    p90: quantile(samples, 0.9),
    samples: pairs,
    dispatches: repeats,
  };
  if (!times.some((us) => us > 0)) throw new DeviceError(`the GPU clock stood still over ${repeats} steps`);
  return timing;
}

/** Arithmetic that fills a large GPU, and of which a pass takes about 0.1 ms there. */
const LOAD = { rounds: 2048, workgroups: 1024 } as const;

/** How much slower than the fastest pass counts as a lower clock. */
const SLOWER = 1.03;

/** Milliseconds of load after which a clock is taken as it is. */
const MOST_MS = 1500;

/** Keeps a GPU at its full clock: one that idles, or has little to do, lowers it by up to a third and more. */
export class ClockGuard {
  readonly #clock: GpuClock;
  readonly #load: KernelSetup;
  #best = Number.POSITIVE_INFINITY;

  private constructor(clock: GpuClock, load: KernelSetup) {
    this.#clock = clock;
    this.#load = load;
  }

  static async create({ gpu, pipelines, clock }: Bench): Promise<ClockGuard> {
    const load = await KernelSetup.create(gpu, pipelines, probe_fma, LOAD, probe_fma.variants[0]);
    return new ClockGuard(clock, load);
  }

  /** Loads the GPU until it is as fast as it ever was, and for `leastMs` at least. */
  async rise(leastMs = 0): Promise<void> {
    const begin = performance.now();
    for (;;) {
      const slow = await this.isSlow();
      const ms = performance.now() - begin;
      if ((!slow && ms >= leastMs) || ms > MOST_MS) return;
    }
  }

  /** Whether the clock is lower than it was at its fastest. */
  async isSlow(): Promise<boolean> {
    const one: EncodePass = (pass) => this.#load.encode(pass, 1);
    const us = Math.min(...(await this.#clock.passes([one, one, one])));
    this.#best = Math.min(this.#best, us);
    return us > this.#best * SLOWER;
  }

  dispose(): void {
    this.#load.dispose();
  }
}
