/**
 * Q4_K: blocks of 256 weights, in eight parts of 32. A weight is `d * scale * q - dmin * min` with q in 0..15 and, per
 * part, a scale and a min in 0..63. 144 bytes: d and dmin (f16), 12 bytes of scales and mins, 128 bytes of q.
 */
import { f16ToNumber, numberToF16 } from '../../tensor.ts';
import { importance } from './search.ts';

const BLOCK = 256;
const PART = 32;
const PARTS = 8;
const BYTES = 144;

/** Largest q, and largest scale or min of a part. */
const TOP = 15;
const TOP_SCALE = 63;

/** How much wider or narrower than from the least to the largest weight the range of q is tried. */
const NUDGES = [-0.6, -0.2, 0.2, 0.6, 1, 1.4, 1.8, 2.4];

const weights = Array.from({ length: PARTS }, () => new Float32Array(PART));
const scales = new Float64Array(PARTS);
const mins = new Float64Array(PARTS);

/** Whole blocks of weights. */
export function encodeQ4k(values: Float32Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array((values.length / BLOCK) * BYTES);
  for (let begin = 0, at = 0; begin < values.length; begin += BLOCK, at += BYTES) {
    encodeBlock(values, begin, out.subarray(at, at + BYTES));
  }
  return out;
}

function encodeBlock(x: Float32Array, begin: number, out: Uint8Array): void {
  for (let part = 0; part < PARTS; part++) {
    importance(x, begin + part * PART, PART, weights[part]);
    [scales[part], mins[part]] = searchPart(x, begin + part * PART, weights[part]);
  }
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  view.setUint16(0, numberToF16(Math.max(...scales) / TOP_SCALE), true);
  view.setUint16(2, numberToF16(Math.max(...mins) / TOP_SCALE), true);
  const d = f16ToNumber(view.getUint16(0, true));
  const dmin = f16ToNumber(view.getUint16(2, true));
  for (let part = 0; part < PARTS; part++) {
    const at = begin + part * PART;
    const [scale, min] = roundPart(x, at, weights[part], d, dmin, scales[part], mins[part]);
    writeScales(out, part, scale, min);
    const [a, b] = [d * scale, dmin * min];
    const bytes = 16 + (part >> 1) * PART;
    const inverse = inverseOf(a);
    for (let i = 0; i < PART; i++) out[bytes + i] |= quantum(x[at + i], inverse, b) << (4 * (part & 1));
  }
}

/** The q of 0..15 for which `a * q - b` is nearest to x, given 1 / a; 0 where a is 0. */
function quantum(x: number, inverse: number, b: number): number {
  const shifted = (x + b) * inverse + 0.5;
  if (shifted < 1) return 0;
  return shifted >= TOP ? TOP : shifted | 0;
}

function inverseOf(a: number): number {
  return a === 0 ? 0 : 1 / a;
}

/**
 * Scale a and min b, both at least 0, of least weighted error. For each range of q the integers are fixed first; then a
 * and b are the weighted least squares for them.
 */
function searchPart(x: Float32Array, begin: number, w: Float32Array): [number, number] {
  let low = 0;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < PART; i++) {
    low = Math.min(low, x[begin + i]);
    high = Math.max(high, x[begin + i]);
  }
  if (high <= low) return [0, -low];
  let best: [number, number] = [(high - low) / TOP, -low];
  let least = error(x, begin, w, ...best);
  for (const nudge of NUDGES) {
    const a = (high - low) / (TOP + nudge);
    const fitted = refit(x, begin, w, a, -low);
    const e = error(x, begin, w, ...fitted);
    if (e < least) {
      least = e;
      best = fitted;
    }
  }
  return best;
}

/** Weighted least squares of a and b in `a * q - b` for the integers that they give now; b stays at or above 0. */
function refit(x: Float32Array, begin: number, w: Float32Array, a: number, b: number): [number, number] {
  const inverse = inverseOf(a);
  let sw = 0;
  let sq = 0;
  let sqq = 0;
  let sx = 0;
  let sxq = 0;
  for (let i = 0; i < PART; i++) {
    const value = x[begin + i];
    const q = quantum(value, inverse, b);
    const wq = w[i] * q;
    sw += w[i];
    sq += wq;
    sqq += wq * q;
    sx += w[i] * value;
    sxq += wq * value;
  }
  const det = sw * sqq - sq * sq;
  if (det <= 0) return [a, b];
  const scale = (sw * sxq - sx * sq) / det;
  const min = (sq * sxq - sqq * sx) / det;
  if (min >= 0 && scale > 0) return [scale, min];
  return sqq > 0 && sxq > 0 ? [sxq / sqq, 0] : [a, b];
}

function error(x: Float32Array, begin: number, w: Float32Array, a: number, b: number): number {
  const inverse = inverseOf(a);
  let sum = 0;
  for (let i = 0; i < PART; i++) {
    const value = x[begin + i];
    const e = a * quantum(value, inverse, b) - b - value;
    sum += w[i] * e * e;
  }
  return sum;
}

/** The 6-bit scale and min of least error, among the nearest ones and their neighbours. */
function roundPart(
  x: Float32Array,
  begin: number,
  w: Float32Array,
  d: number,
  dmin: number,
  a: number,
  b: number,
): [number, number] {
  const near = (value: number, unit: number) => (unit === 0 ? 0 : Math.round(value / unit));
  const [scale, min] = [near(a, d), near(b, dmin)];
  let best: [number, number] = [0, 0];
  let least = Number.POSITIVE_INFINITY;
  for (let s = Math.max(0, scale - 1); s <= Math.min(TOP_SCALE, scale + 1); s++) {
    for (let m = Math.max(0, min - 1); m <= Math.min(TOP_SCALE, min + 1); m++) {
      const e = error(x, begin, w, d * s, dmin * m);
      if (e < least) {
        least = e;
        best = [s, m];
      }
    }
  }
  return best;
}

/** Parts 0..3 have six bits in bytes 0..3 and 4..7; parts 4..7 four in bytes 8..11, two above those of part - 4. */
function writeScales(out: Uint8Array, part: number, scale: number, min: number): void {
  const at = 4;
  if (part < 4) {
    out[at + part] |= scale;
    out[at + part + 4] |= min;
    return;
  }
  out[at + part + 4] = (scale & 15) | ((min & 15) << 4);
  out[at + part - 4] |= (scale >> 4) << 6;
  out[at + part] |= (min >> 4) << 6;
}
