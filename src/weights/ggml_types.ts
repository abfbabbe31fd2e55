/** The block types of ggml that GGUF files use: numbers, sizes, and where the scales of a block stand. */
import type { WeightFormat } from '../tensor.ts';

/** A ggml type that is supported. */
export interface GgmlType {
  /** Number in the file. */
  readonly id: number;
  readonly format: WeightFormat;
  /** Weights of a block. */
  readonly elements: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Byte offsets of the block's f16 scales; a block with a NaN or infinite one is damaged. */
  readonly scales: readonly number[];
}

const type = (
  id: number,
  format: WeightFormat,
  elements: number,
  bytes: number,
  ...scales: number[]
): GgmlType => ({ id, format, elements, bytes, scales });

/** Layouts: ggml's `ggml-common.h`. MXFP4's scale is one byte, an exponent, and is not listed. */
const TYPES: readonly GgmlType[] = [
  type(0, 'f32', 1, 4),
  type(1, 'f16', 1, 2),
  type(2, 'q4_0', 32, 18, 0),
  type(3, 'q4_1', 32, 20, 0, 2),
  type(6, 'q5_0', 32, 22, 0),
  type(7, 'q5_1', 32, 24, 0, 2),
  type(8, 'q8_0', 32, 34, 0),
  type(10, 'q2_k', 256, 84, 80, 82),
  type(11, 'q3_k', 256, 110, 108),
  type(12, 'q4_k', 256, 144, 0, 2),
  type(13, 'q5_k', 256, 176, 0, 2),
  type(14, 'q6_k', 256, 210, 208),
  type(20, 'iq4_nl', 32, 18, 0),
  type(23, 'iq4_xs', 256, 136, 0),
  type(30, 'bf16', 1, 2),
  type(39, 'mxfp4', 32, 17),
];

const BY_ID: ReadonlyMap<number, GgmlType> = new Map(TYPES.map((entry) => [entry.id, entry]));

const BY_FORMAT: ReadonlyMap<WeightFormat, GgmlType> = new Map(TYPES.map((entry) => [entry.format, entry]));

/** Names of types that exist but are not supported, for messages. */
const UNSUPPORTED: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  21: 'IQ3_S',
  22: 'IQ2_S',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
};

/** The type with this number, or undefined. */
export function ggmlType(id: number): GgmlType | undefined {
  return BY_ID.get(id);
}

/** The ggml type of a weight format; undefined for `fp8` and `int4`, which GGUF does not have. */
export function ggmlTypeOf(format: WeightFormat): GgmlType | undefined {
  return BY_FORMAT.get(format);
}

/** A type number as messages show it. */
export function ggmlTypeName(id: number): string {
  const name = BY_ID.get(id)?.format.toUpperCase() ?? UNSUPPORTED[id];
  return name === undefined ? `number ${id}` : `${name} (number ${id})`;
}

/** The supported types, for messages. */
export const GGML_TYPE_NAMES: string = TYPES.map(({ format }) => format.toUpperCase()).join(', ');
