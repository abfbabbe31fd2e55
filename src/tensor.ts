/** Element types, their sizes, and conversions between the 16-bit floats and numbers. */

/** Element types of a checkpoint file, by the names that safetensors uses. */
export type DType =
  | 'BOOL'
  | 'U8'
  | 'I8'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | 'U16'
  | 'I16'
  | 'F16'
  | 'BF16'
  | 'U32'
  | 'I32'
  | 'F32'
  | 'U64'
  | 'I64'
  | 'F64';

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<DType, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

/** Floats of their own, without a scale that several share. */
export type PlainFormat = 'f32' | 'f16' | 'bf16';

/** Element types in which weights stay on the GPU; kernels decode them while reading. */
export type WeightFormat =
  | PlainFormat
  | 'fp8'
  | 'int4'
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'q8_0'
  | 'q2_k'
  | 'q3_k'
  | 'q4_k'
  | 'q5_k'
  | 'q6_k'
  | 'iq4_nl'
  | 'iq4_xs'
  | 'mxfp4';

/** Bytes of one weight, with its share of the scales that a block holds; `fp8` and `int4` without scales. */
export const FORMAT_BYTES: Readonly<Record<WeightFormat, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  fp8: 1,
  int4: 1 / 2,
  q4_0: 18 / 32,
  q4_1: 20 / 32,
  q5_0: 22 / 32,
  q5_1: 24 / 32,
  q8_0: 34 / 32,
  q2_k: 84 / 256,
  q3_k: 110 / 256,
  q4_k: 144 / 256,
  q5_k: 176 / 256,
  q6_k: 210 / 256,
  iq4_nl: 18 / 32,
  iq4_xs: 136 / 256,
  mxfp4: 17 / 32,
};

/** The weight format that holds a checkpoint dtype unchanged, or undefined when there is none. */
export function formatOf(dtype: DType): PlainFormat | undefined {
  if (dtype === 'F32') return 'f32';
  if (dtype === 'F16') return 'f16';
  if (dtype === 'BF16') return 'bf16';
  return undefined;
}

/** Rows of matrices and activations are padded to a multiple of this many elements, so that 128-bit loads fit. */
export const ROW_ALIGN = 8;

/** `n` rounded up to a multiple of {@link ROW_ALIGN}. */
export function padRow(n: number): number {
  return Math.ceil(n / ROW_ALIGN) * ROW_ALIGN;
}

/** `ceil(a / b)` for positive integers. */
export function ceilDiv(a: number, b: number): number {
  return Math.ceil(a / b);
}

/** Product of a shape; 1 for a scalar. */
export function elements(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The bf16 bit pattern nearest to `value` (round to nearest, ties to even; NaN stays NaN). */
export function numberToBf16(value: number): number {
  f32[0] = value;
  const bits = u32[0];
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number that an IEEE binary16 bit pattern stands for. */
export function f16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** The binary16 bit pattern nearest to `value` (round to nearest, ties to even; overflow to infinity). */
export function numberToF16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const a = Math.abs(value);
  if (a >= 65520) return sign | 0x7c00;
  if (a < 2 ** -14) return sign | roundHalfEven(a * 2 ** 24);
  const exponent = Math.floor(Math.log2(a));
  // log2 can round up to the next power just below it, and down just above.
  const e = a >= 2 ** (exponent + 1) ? exponent + 1 : a < 2 ** exponent ? exponent - 1 : exponent;
  return sign + ((e + 14) << 10) + roundHalfEven(a * 2 ** (10 - e));
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Decodes `count` weights of `bytes` from element `begin` into `out`. `bytes` must be aligned to the element size. */
export function decodeWeights(
  format: WeightFormat,
  bytes: Uint8Array,
  begin: number,
  count: number,
  out: Float64Array | Float32Array,
): void {
  if (format === 'f32') {
    const values = new Float32Array(bytes.buffer, bytes.byteOffset + begin * 4, count);
    for (let i = 0; i < count; i++) out[i] = values[i];
    return;
  }
  const bits = new Uint16Array(bytes.buffer, bytes.byteOffset + begin * 2, count);
  const table = format === 'bf16' ? undefined : halfTable();
  if (table === undefined) {
    for (let i = 0; i < count; i++) {
      u32[0] = bits[i] << 16;
      out[i] = f32[0];
    }
  } else for (let i = 0; i < count; i++) out[i] = table[bits[i]];
}

let halves: Float32Array | undefined;

/** All 65,536 binary16 values: a lookup is several times faster than decoding bit fields in JavaScript. */
function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 65536 }, (_, bits) => f16ToNumber(bits));
  return halves;
}

/** Encodes numbers as weights of `format`; the result is a fresh buffer of exactly the encoded bytes. */
export function encodeWeights(format: WeightFormat, values: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  if (format === 'f32') return new Uint8Array(Float32Array.from(values).buffer);
  const encode = format === 'bf16' ? numberToBf16 : numberToF16;
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) bits[i] = encode(values[i]);
  return new Uint8Array(bits.buffer);
}

/** Bytes of one stored element of a buffer. */
export const SLOT_BYTES: Readonly<Record<WeightFormat | 'u32', number>> = {
  ...FORMAT_BYTES,
  u32: 4,
};
