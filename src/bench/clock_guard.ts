/** Keeps a GPU at its full clock while it is measured: one that idles, or has little to do, lowers it by a third and more. */
import { probe_fma } from '../kernels/probe_fma.ts';
import type { Bench } from './machine.ts';
import { KernelSetup } from './setup.ts';
import type { EncodePass, GpuClock } from './timing.ts';

/** Arithmetic that fills a large GPU, and of which a pass takes about 0.1 ms there. */
const LOAD = { rounds: 2048, workgroups: 1024 } as const;

/** How much slower than the fastest pass counts as a lower clock. */
const SLOWER = 1.03;

/** Milliseconds of load after which a clock is taken as it is. */
const MOST_MS = 1500;

/** Times that something is measured anew because the clock fell. */
const RETRIES = 2;

/** Milliseconds of load after which a GPU that idled runs at its full clock. */
export const RISE_MS = 400;

/** Loads a GPU until its clock has risen. */
class ClockGuard {
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

  /** What `measure` gives, again if the clock fell meanwhile; the last that it gave if it keeps falling. */
  async steady<T>(measure: () => Promise<T>): Promise<T> {
    let found = await measure();
    for (let retry = 0; retry < RETRIES && (await this.isSlow()); retry++) {
      await this.rise();
      found = await measure();
    }
    return found;
  }

  dispose(): void {
    this.#load.dispose();
  }
}

/** GB/s of memory from which an adapter is taken for a GPU with a clock to be raised. */
export const FAST_GBPS = 150;

/** What is asked of a guard. */
export type Guard = Pick<ClockGuard, 'rise' | 'isSlow' | 'steady' | 'dispose'>;

/** A guard, or one that does nothing where there is no clock to be raised, or none to measure it by. */
export async function guardOf(bench: Bench, readGBs: number): Promise<Guard> {
  if (readGBs > FAST_GBPS && bench.clock.kind === 'gpu') return ClockGuard.create(bench);
  return {
    rise: async () => {},
    isSlow: async () => false,
    steady: (measure) => measure(),
    dispose: () => {},
  };
}
