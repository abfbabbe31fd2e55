/** Makes plans of longer contexts before a step needs them, so that none waits for its kernels. */
import { awaitedLater } from './later.ts';
import type { Model } from './model.ts';

/** Positions ahead: at 0.2 ms a token, what it takes to compile a kernel. */
const AHEAD = 256;

/** What steps of a generation will come to need. */
export class PlansAhead {
  readonly #model: Model;
  readonly #make: (context: number) => Promise<unknown>;
  /** The longest context whose plans were begun. */
  #begun = 0;

  /** `make`: makes the plans of steps whose positions are all below `context`. */
  constructor(model: Model, make: (context: number) => Promise<unknown>) {
    this.#model = model;
    this.#make = make;
  }

  /**
   * Begins the plans for what follows `context` positions, of at most `limit`, once. If that fails, whoever comes to need them
   * tries again, and reports it.
   */
  begin(context: number, limit: number): void {
    const bucket = this.#model.bucket(Math.min(limit, context + AHEAD));
    if (bucket <= this.#begun) return;
    this.#begun = bucket;
    awaitedLater(this.#make(bucket));
  }
}
