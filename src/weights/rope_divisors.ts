/**
 * Llama-3 rope scaling from the divisors that it comes to: GGUF files hold one divisor per rotary pair instead of the
 * parameters. A wavelength w is divided by 1 below original / high, by `factor` above original / low, and in between by
 * 1 / ((1 - s) / factor + s) with s = (original / w - low) / (high - low).
 */

/** `rope_scaling` of a `config.json`. */
export interface RopeScaling {
  readonly rope_type: 'llama3';
  readonly factor: number;
  readonly original_max_position_embeddings: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
}

/** What released models have; divisors do not always tell it. */
const LOW = 1;
const USUAL_HIGH = 32;

/** Divisors are stored in 32 bits, and were computed from 32-bit frequencies. */
const TOLERANCE = 2e-6;

/**
 * Parameters that give these divisors; undefined when no parameters do.
 *
 * @param divisors `[dims / 2]`, not all 1
 * @param theta base of the frequencies
 */
export function scalingOf(divisors: readonly number[], theta: number): RopeScaling | undefined {
  const factor = Math.max(...divisors);
  if (!(factor > 1 && Number.isFinite(factor))) return undefined;
  const waves = divisors.map((_, i) => 2 * Math.PI * theta ** (i / divisors.length));
  // Between the two ends: points (1 / wavelength, s) on the line s = (original / w - 1) / (high - 1).
  const points = divisors.flatMap((divisor, i) =>
    divisor > 1 + TOLERANCE && divisor < factor * (1 - TOLERANCE)
      ? [{ x: 1 / waves[i], s: (1 / divisor - 1 / factor) / (1 - 1 / factor) }]
      : [],
  );
  return candidates(points, divisors, waves, factor).find((scaling) => agrees(scaling, divisors, waves));
}

function candidates(
  points: readonly { x: number; s: number }[],
  divisors: readonly number[],
  waves: readonly number[],
  factor: number,
): RopeScaling[] {
  const make = (original: number, high: number): RopeScaling => ({
    rope_type: 'llama3',
    factor,
    original_max_position_embeddings: Math.round(original),
    low_freq_factor: LOW,
    high_freq_factor: high,
  });
  if (points.length === 0) {
    // A step: any length between the last wave that is kept and the first that is stretched will do.
    const first = waves[divisors.findIndex((divisor) => divisor > 1)];
    const power = 2 ** Math.floor(Math.log2(first));
    return [make(power, USUAL_HIGH), make(Math.floor(first), 1 + 1e-9)];
  }
  const usual = points.map(({ x, s }) => make((s * (USUAL_HIGH - LOW) + LOW) / x, USUAL_HIGH));
  if (points.length === 1) return usual;
  const [a, b] = [points[0], points[points.length - 1]];
  const slope = (a.s - b.s) / (a.x - b.x);
  const high = LOW - LOW / (a.s - slope * a.x);
  return [
    ...usual,
    make(slope * (Math.round(high) - LOW), Math.round(high)),
    make(slope * (high - LOW), high),
  ];
}

function agrees(scaling: RopeScaling, divisors: readonly number[], waves: readonly number[]): boolean {
  const { factor, original_max_position_embeddings: original, low_freq_factor: low } = scaling;
  const high = scaling.high_freq_factor;
  if (!(high > low && original >= 1)) return false;
  return divisors.every((divisor, i) => {
    const s = Math.min(1, Math.max(0, (original / waves[i] - low) / (high - low)));
    return Math.abs(divisor * ((1 - s) / factor + s) - 1) < TOLERANCE;
  });
}
