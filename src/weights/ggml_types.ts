/** The block types of ggml that GGUF files use: numbers, sizes, and where the scales of a block stand. */
import { BLOCK_FORMATS, type BlockName } from '../formats/blocks.ts';
import { isPlain, PLAIN_BYTES, type PlainFormat, type WeightFormat } from '../tensor.ts';

/** A ggml type that is supported. */
export interface GgmlType {
  /** Number in the file. */
  readonly id: number;
  readonly format: WeightFormat;
  /** Weights of a block. */
  readonly elements: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Byte offsets of the block's f16 scales (MXFP4's is an exponent): one that is NaN or infinite is damage. */
  readonly scales: readonly number[];
}

/** Numbers of the types in files: ggml's `ggml.h`. */
const IDS: Readonly<Record<PlainFormat | BlockName, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  q2_k: 10,
  q3_k: 11,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  iq4_nl: 20,
  iq4_xs: 23,
  bf16: 30,
  mxfp4: 39,
};

const TYPES: readonly GgmlType[] = (Object.keys(IDS) as (keyof typeof IDS)[]).map((format) => {
  const id = IDS[format];
  if (isPlain(format)) return { id, format, elements: 1, bytes: PLAIN_BYTES[format], scales: [] };
  const { cols, bytes, halves } = BLOCK_FORMATS[format];
  return { id, format, elements: cols, bytes, scales: halves.map(([offset]) => offset) };
});

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
