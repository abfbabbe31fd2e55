/** Weights as symmetric 4-bit integers with a bf16 scale per group of 32 columns: `pack-quantized`. */
import { numberToBf16 } from '../../tensor.ts';
import { quantum, searchScale } from './search.ts';

/** Columns that share a scale. */
export const INT4_GROUP = 32;

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Rows of `cols` weights, a multiple of {@link INT4_GROUP}: packed words, and the bits of the scales. */
export function encodeInt4(
  values: Float32Array,
  cols: number,
): { packed: Uint32Array<ArrayBuffer>; scales: Uint16Array<ArrayBuffer> } {
  const packed = new Uint32Array(values.length / 8);
  const scales = new Uint16Array(values.length / INT4_GROUP);
  if (cols % INT4_GROUP !== 0) throw new RangeError(`${cols} columns are not whole groups of ${INT4_GROUP}`);
  for (let group = 0; group < scales.length; group++) {
    const begin = group * INT4_GROUP;
    const found = searchScale(values, begin, INT4_GROUP, false, roundBf16);
    // A scale of 0 is taken for damage.
    const scale = found === 0 ? 1 : found;
    scales[group] = numberToBf16(scale);
    const inverse = 1 / scale;
    for (let i = 0; i < INT4_GROUP; i++) {
      const q = quantum(values[begin + i], inverse) + 8;
      packed[(begin + i) >>> 3] |= q << (4 * (i % 8));
    }
  }
  return { packed, scales };
}

function roundBf16(value: number): number {
  u32[0] = numberToBf16(value) << 16;
  return f32[0];
}
