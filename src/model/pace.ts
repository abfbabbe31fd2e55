/** How many decoding steps are submitted together: the host's fixed work of a submit is then shared by them. */

/** Milliseconds that steps of one submit may take together: tokens that come at once are no later than anyone notices. */
const MOST_MS = 2;

/** Most steps of a submit. */
const MOST_STEPS = 8;

/** Steps to be submitted together where one takes `stepMs` milliseconds. */
export function stepsTogether(stepMs: number): number {
  return Math.max(1, Math.min(MOST_STEPS, Math.floor(MOST_MS / stepMs)));
}

/** Follows how long steps take. */
export class Pace {
  #stepMs = Number.POSITIVE_INFINITY;

  /** Notes that `steps` steps have arrived `ms` milliseconds after those before. */
  note(steps: number, ms: number): void {
    const each = ms / steps;
    this.#stepMs = Number.isFinite(this.#stepMs) ? 0.75 * this.#stepMs + 0.25 * each : each;
  }

  /** Steps to be submitted together next. */
  get together(): number {
    return stepsTogether(this.#stepMs);
  }
}
