/** Weights as e4m3 with one scale per block of 128 × 128. */

/** Largest e4m3 number. */
const MAX = 448;

/** Rows and columns that share a scale. */
export const FP8_BLOCK = 128;

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The e4m3 byte nearest to `value` (ties to even); beyond 448 the largest, as there is no infinity; NaN stays NaN. */
export function numberToE4m3(value: number): number {
  if (Number.isNaN(value)) return 0x7f;
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0;
  const a = Math.abs(value);
  if (a >= MAX) return sign | 0x7e;
  if (a < 2 ** -6) {
    const scaled = a * 512;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    return sign | (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor);
  }
  f32[0] = a;
  // Rounded at 3 of 23 mantissa bits; the exponent's bias goes from 127 to 7.
  const rounded = (u32[0] + 0x7ffff + ((u32[0] >>> 20) & 1)) >>> 20;
  return sign | Math.min(rounded - (120 << 3), 0x7e);
}

/** Raises the largest magnitude of every block of a band of rows within one row of blocks; `maxima` has one per block. */
export function raiseMaxima(values: Float32Array, cols: number, maxima: Float32Array): void {
  for (let i = 0, col = 0; i < values.length; i++) {
    const block = Math.floor(col / FP8_BLOCK);
    const a = Math.abs(values[i]);
    if (a > maxima[block]) maxima[block] = a;
    if (++col === cols) col = 0;
  }
}

/** The scale of a block by its largest magnitude; 1 for a block of zeros, since a scale of 0 is taken for damage. */
export function fp8Scale(maximum: number): number {
  const scale = Math.fround(maximum / MAX);
  // So small a block has no 32-bit scale; its weights become 0.
  return scale === 0 ? 1 : scale;
}

/** e4m3 bytes of a band of rows within one row of blocks, whose scales are given per block of columns. */
export function encodeFp8(values: Float32Array, cols: number, scales: Float32Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(values.length);
  for (let i = 0, col = 0; i < values.length; i++) {
    out[i] = numberToE4m3(values[i] / scales[Math.floor(col / FP8_BLOCK)]);
    if (++col === cols) col = 0;
  }
  return out;
}
