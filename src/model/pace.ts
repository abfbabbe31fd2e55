/** How many decoding steps are submitted together: the host's fixed work of a submit is then shared by them. */

/** Milliseconds that steps of one submit may take together: tokens that come at once are no later than anyone notices. */
const MOST_MS = 2;

/** Most steps of a submit. */
const MOST_STEPS = 8;

/** Steps to be submitted together where one takes `stepMs` milliseconds. */
export function stepsTogether(stepMs: number): number {
  return Math.max(1, Math.min(MOST_STEPS, Math.floor(MOST_MS / stepMs)));
}

/** Milliseconds of short steps that are kept under way, which the host may be late by before the GPU waits for it. */
const AHEAD_MS = 8;

/** Submits under way where they hold several steps, at least and at most: one that runs, and others that follow without a pause. */
const SUBMITS = { least: 2, most: 8 } as const;

/** Follows how long steps take, and says how many to queue. */
export class Pace {
  readonly #depth: number;
  readonly #apart: boolean;
  #stepMs = Number.POSITIVE_INFINITY;

  /** `depth`: single steps that may be under way. `apart`: whether every step has a submit of its own, however short. */
  constructor(depth: number, apart = false) {
    this.#depth = depth;
    this.#apart = apart || depth === 1;
  }

  /** Notes that `steps` steps have arrived `ms` milliseconds after those before. */
  note(steps: number, ms: number): void {
    const each = ms / steps;
    this.#stepMs = Number.isFinite(this.#stepMs) ? 0.75 * this.#stepMs + 0.25 * each : each;
  }

  /** Steps that are short enough to be submitted together. */
  get together(): number {
    return stepsTogether(this.#stepMs);
  }

  /** Steps of the next submit, and submits that may be under way with it. */
  get next(): { readonly steps: number; readonly submits: number } {
    const steps = this.#apart ? 1 : this.together;
    if (steps === 1) return { steps, submits: this.#depth };
    const wanted = Math.ceil(AHEAD_MS / (steps * this.#stepMs));
    return { steps, submits: Math.max(SUBMITS.least, Math.min(SUBMITS.most, wanted)) };
  }
}
