/**
 * Keys or values as e4m3 bytes with an f32 scale per row (one position of one KV head). A page holds the bytes
 * `[PAGE, kvHeads, D8]` of its positions, then the scales `[kvHeads, PAGE]` of these rows: rows begin at multiples of their
 * size, and the scales that a head needs are neighbours.
 */
import { GROUP_FORMATS } from '../formats/groups.ts';
import { fp8Scale, numberToE4m3 } from '../weights/encode/fp8.ts';
import { PAGE } from './paged.ts';

/** Bytes of a row's scale. */
export const SCALE_BYTES = 4;

/** Logical shape of a cache: positions (whole pages), KV heads, padded head. */
type CacheDims = readonly number[];

/** Stored bytes of a cache `[positions, kvHeads, D8]`. */
export function fp8PagesBytes([positions, kvHeads, D8]: CacheDims): number {
  return positions * kvHeads * (D8 + SCALE_BYTES);
}

/** The scale of `count` elements from `at`: their largest magnitude / 448, 1 for zeros, NaN if one is NaN. */
function scaleOf(values: Float64Array, at: number, count: number): number {
  let most = 0;
  for (let i = at; i < at + count; i++) most = Math.max(most, Math.abs(values[i]));
  return fp8Scale(most);
}

/** Rounds a row of `count` elements from `at` to what such a cache holds of it. */
export function roundFp8Row(values: Float64Array, at: number, count: number): void {
  const { levels } = GROUP_FORMATS.fp8;
  const scale = scaleOf(values, at, count);
  for (let i = at; i < at + count; i++) values[i] = levels[numberToE4m3(values[i] / scale)] * scale;
}

/** Where a row of a cache lies, in bytes: its elements, and its scale. `row` counts the heads of all positions. */
function places(row: number, kvHeads: number, D8: number): { elements: number; scale: number } {
  const rows = PAGE * kvHeads;
  const [page, r] = [Math.floor(row / rows), row % rows];
  const begin = page * rows * (D8 + SCALE_BYTES);
  const scale = (r % kvHeads) * PAGE + Math.floor(r / kvHeads);
  return { elements: begin + r * D8, scale: begin + rows * D8 + scale * SCALE_BYTES };
}

/** Stored bytes of values `[positions, kvHeads, D8]`, positions a multiple of {@link PAGE}. */
export function encodeFp8Pages([, kvHeads, D8]: CacheDims, values: Float64Array): Uint8Array<ArrayBuffer> {
  const rows = values.length / D8;
  const bytes = new Uint8Array(rows * (D8 + SCALE_BYTES));
  const view = new DataView(bytes.buffer);
  for (let row = 0; row < rows; row++) {
    const at = places(row, kvHeads, D8);
    const scale = scaleOf(values, row * D8, D8);
    for (let i = 0; i < D8; i++) bytes[at.elements + i] = numberToE4m3(values[row * D8 + i] / scale);
    view.setFloat32(at.scale, scale, true);
  }
  return bytes;
}

/** Values `[positions, kvHeads, D8]` of stored bytes. */
export function decodeFp8Pages([, kvHeads, D8]: CacheDims, bytes: Uint8Array): Float64Array {
  const { levels } = GROUP_FORMATS.fp8;
  const rows = bytes.length / (D8 + SCALE_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const values = new Float64Array(rows * D8);
  for (let row = 0; row < rows; row++) {
    const at = places(row, kvHeads, D8);
    const scale = view.getFloat32(at.scale, true);
    for (let i = 0; i < D8; i++) values[row * D8 + i] = levels[bytes[at.elements + i]] * scale;
  }
  return values;
}
