/** Finds NaN and infinite weights: a damaged or badly converted checkpoint would otherwise decode to noise. */
import { WeightError } from '../errors.ts';
import { DTYPE_BYTES, type DType, formatOf, type PlainFormat } from '../tensor.ts';
import { skipClear, type WordTest } from './finite_simd.ts';
import type { TensorInfo } from './safetensors.ts';

/**
 * A float is not finite when all its exponent bits are set: adding one at the lowest of them then carries into the sign
 * position, which the mask has cleared. A 32-bit word tests one f32 or two 16-bit floats at once.
 */
const TESTS: Readonly<Record<PlainFormat, WordTest>> = {
  f32: { exponent: 0x7f800000, one: 0x00800000, carry: 0x80000000 },
  f16: { exponent: 0x7c007c00, one: 0x04000400, carry: 0x80008000 },
  bf16: { exponent: 0x7f807f80, one: 0x00800080, carry: 0x80008000 },
};

/**
 * Index of the first element that is NaN or infinite, or -1. Little-endian elements; those of other dtypes than F32,
 * F16 and BF16 are not floats of a checkpoint and count as finite.
 */
export function firstNonFinite(dtype: DType, bytes: Uint8Array): number {
  const format = formatOf(dtype);
  if (format === undefined) return -1;
  const test = TESTS[format];
  const { exponent, one, carry } = test;
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const count = aligned.length >>> 2;
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, count);
  const perWord = 4 / DTYPE_BYTES[dtype];
  let i = skipClear(aligned, test) / 4;
  // Eight words to a branch.
  for (; i + 8 <= count; i += 8) {
    const found =
      ((words[i] & exponent) + one) |
      ((words[i + 1] & exponent) + one) |
      ((words[i + 2] & exponent) + one) |
      ((words[i + 3] & exponent) + one) |
      ((words[i + 4] & exponent) + one) |
      ((words[i + 5] & exponent) + one) |
      ((words[i + 6] & exponent) + one) |
      ((words[i + 7] & exponent) + one);
    if ((found & carry) !== 0) break;
  }
  while (i < count && (((words[i] & exponent) + one) & carry) === 0) i++;
  const from = i * perWord;
  // Whichever half of the word it was, and an odd last element.
  for (let e = from; (e + 1) * DTYPE_BYTES[dtype] <= aligned.length && e < from + perWord; e++) {
    if (!isFiniteAt(format, aligned, e)) return e;
  }
  return -1;
}

/**
 * Throws WeightError when `bytes`, read from byte `begin` of `tensor`, hold a NaN or an infinity; the message gives its
 * coordinates in the tensor.
 */
export function checkFinite(
  tensor: Pick<TensorInfo, 'name' | 'file' | 'dtype' | 'shape'>,
  bytes: Uint8Array,
  begin: number,
): void {
  const found = firstNonFinite(tensor.dtype, bytes);
  if (found < 0) return;
  const size = DTYPE_BYTES[tensor.dtype];
  const nan = isNaNAt(tensor.dtype, bytes, found * size);
  const at = coordinates(tensor.shape, begin / size + found);
  throw new WeightError(
    tensor.file,
    tensor.name,
    'finite weights',
    `${nan ? 'NaN' : 'an infinity'} at [${at.join(', ')}]`,
  );
}

function isFiniteAt(format: PlainFormat, bytes: Uint8Array, element: number): boolean {
  const { exponent } = TESTS[format];
  const top = format === 'f32' ? element * 4 + 2 : element * 2;
  const mask = exponent >>> 16;
  return ((bytes[top] | (bytes[top + 1] << 8)) & mask) !== mask;
}

/** Whether a non-finite element at byte `at` has a mantissa, which makes it a NaN. */
function isNaNAt(dtype: DType, bytes: Uint8Array, at: number): boolean {
  const top = at + DTYPE_BYTES[dtype] - 2;
  const high = bytes[top] | (bytes[top + 1] << 8);
  const mantissa = dtype === 'F16' ? high & 0x3ff : high & 0x7f;
  return mantissa !== 0 || (dtype === 'F32' && (bytes[at] | bytes[at + 1]) !== 0);
}

/** Where element `index` of a tensor stands. */
export function coordinates(shape: readonly number[], index: number): number[] {
  let rest = index;
  const at: number[] = [];
  for (const size of [...shape].reverse()) {
    at.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return at;
}
