/** The best scale for a group of weights that are kept as 4-bit integers. */

/** The largest magnitude is tried at these integers; what lies beyond the range is cut. */
const STEPS = [6.6, 7, 7.4, 7.8, 8.2, 8.7];

/** Large weights count more, but small ones count too: how far each weight's error is taken into account. */
export function importance(x: Float32Array, begin: number, count: number, out: Float32Array): void {
  let squares = 0;
  for (let i = 0; i < count; i++) squares += x[begin + i] * x[begin + i];
  const typical = Math.sqrt(squares / count);
  for (let i = 0; i < count; i++) out[i] = typical + Math.abs(x[begin + i]);
}

const weights = new Float32Array(256);

/**
 * The scale d for which the integers q = round(x / d) in -8..7 give the least weighted error Σ w (d q - x)². For each
 * candidate the integers are fixed first, then the scale is the one that fits them best.
 *
 * @param signed whether d may be negative, so that -8 serves a large positive weight
 * @param round rounds a scale as it will be stored
 * @returns 0 when all weights are 0
 */
export function searchScale(
  x: Float32Array,
  begin: number,
  count: number,
  signed: boolean,
  round: (scale: number) => number,
): number {
  importance(x, begin, count, weights);
  let largest = 0;
  for (let i = 0; i < count; i++) largest = Math.max(largest, Math.abs(x[begin + i]));
  if (largest === 0) return 0;
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const sign of signed ? [1, -1] : [1]) {
    for (const step of STEPS) {
      const d = round(refit(x, begin, count, (sign * largest) / step));
      const e = error(x, begin, count, d);
      if (e < least) {
        least = e;
        best = d;
      }
    }
  }
  return best;
}

/** The integer of -8..7 for a weight, given 1 / d. */
export function quantum(x: number, inverse: number): number {
  const shifted = x * inverse + 8.5;
  if (shifted < 1) return -8;
  return shifted >= 15 ? 7 : (shifted | 0) - 8;
}

/** The scale of least error for the integers that `d` gives. */
function refit(x: Float32Array, begin: number, count: number, d: number): number {
  const inverse = 1 / d;
  let xq = 0;
  let qq = 0;
  for (let i = 0; i < count; i++) {
    const value = x[begin + i];
    const q = quantum(value, inverse);
    const wq = weights[i] * q;
    xq += wq * value;
    qq += wq * q;
  }
  return qq === 0 ? d : xq / qq;
}

function error(x: Float32Array, begin: number, count: number, d: number): number {
  const inverse = 1 / d;
  if (!Number.isFinite(inverse)) return Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const value = x[begin + i];
    const e = d * quantum(value, inverse) - value;
    sum += weights[i] * e * e;
  }
  return sum;
}
