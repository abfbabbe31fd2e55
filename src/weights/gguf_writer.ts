/** Writes the header of a GGUF file, version 3. */
import { WeightError } from '../errors.ts';
import { elements, type WeightFormat } from '../tensor.ts';
import { ggmlTypeOf } from './ggml_types.ts';
import { type GgufValueType, valueTypeNumber } from './gguf.ts';

type Scalar = Exclude<GgufValueType, 'array'>;

/** A metadata value with the type that it has in the file. */
export type TypedValue =
  | { readonly type: Scalar; readonly value: string | number | boolean }
  | { readonly type: 'array'; readonly of: Scalar; readonly values: readonly (string | number | boolean)[] };

/** The header of a tensor that is to be written. */
export interface GgufTensorHeader {
  readonly name: string;
  readonly format: WeightFormat;
  /** Outermost first; the file has it reversed. */
  readonly shape: readonly number[];
}

/** Where tensors begin: the default of the format. */
export const GGUF_ALIGNMENT = 32;

/** Bytes of a tensor; throws WeightError for formats that GGUF does not have and for rows that are not whole blocks. */
export function ggufBytes({ name, format, shape }: GgufTensorHeader): number {
  const type = ggmlTypeOf(format);
  if (type === undefined) throw new WeightError(name, undefined, 'a format of GGUF', format);
  const columns = shape[shape.length - 1] ?? 0;
  if (columns % type.elements !== 0) {
    throw new WeightError(
      name,
      undefined,
      `rows of whole ${format} blocks of ${type.elements}`,
      `${columns} columns`,
    );
  }
  return (elements(shape) / type.elements) * type.bytes;
}

/**
 * Everything before the tensors' bytes, padded to {@link GGUF_ALIGNMENT}. The bytes follow in the given order, each
 * tensor padded likewise.
 *
 * @throws WeightError as {@link ggufBytes}.
 */
export function encodeGgufHeader(
  metadata: ReadonlyMap<string, TypedValue>,
  tensors: readonly GgufTensorHeader[],
): Uint8Array<ArrayBuffer> {
  const out = new Bytes();
  out.u32(0x46554747);
  out.u32(3);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.text(key);
    out.u32(valueTypeNumber(value.type));
    if (value.type !== 'array') {
      out.scalar(value.type, value.value);
      continue;
    }
    out.u32(valueTypeNumber(value.of));
    out.u64(value.values.length);
    for (const item of value.values) out.scalar(value.of, item);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name);
    out.u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) out.u64(size);
    out.u32(ggmlTypeOf(tensor.format)?.id ?? -1);
    out.u64(offset);
    offset = align(offset + ggufBytes(tensor));
  }
  return out.padded();
}

/** The next multiple of {@link GGUF_ALIGNMENT}. */
export function align(offset: number): number {
  return Math.ceil(offset / GGUF_ALIGNMENT) * GGUF_ALIGNMENT;
}

/** Little-endian bytes in a buffer that grows. */
class Bytes {
  #bytes = new Uint8Array(2 ** 16);
  #length = 0;
  readonly #encoder = new TextEncoder();

  u32(value: number): void {
    this.#room(4).setUint32(0, value, true);
  }

  u64(value: number): void {
    this.#room(8).setBigUint64(0, BigInt(value), true);
  }

  text(text: string): void {
    const bytes = this.#encoder.encode(text);
    this.u64(bytes.length);
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  scalar(type: Scalar, value: string | number | boolean): void {
    const number = Number(value);
    switch (type) {
      case 'string':
        this.text(String(value));
        break;
      case 'uint8':
      case 'bool':
        this.#room(1).setUint8(0, number);
        break;
      case 'int8':
        this.#room(1).setInt8(0, number);
        break;
      case 'uint16':
        this.#room(2).setUint16(0, number, true);
        break;
      case 'int16':
        this.#room(2).setInt16(0, number, true);
        break;
      case 'uint32':
        this.u32(number);
        break;
      case 'int32':
        this.#room(4).setInt32(0, number, true);
        break;
      case 'float32':
        this.#room(4).setFloat32(0, number, true);
        break;
      case 'float64':
        this.#room(8).setFloat64(0, number, true);
        break;
      default:
        this.#room(8).setBigInt64(0, BigInt(number), true);
    }
  }

  padded(): Uint8Array<ArrayBuffer> {
    this.#grow(align(this.#length) - this.#length);
    return this.#bytes.slice(0, this.#length);
  }

  /** A view of `count` new bytes. */
  #room(count: number): DataView {
    const at = this.#grow(count);
    return new DataView(this.#bytes.buffer, at, count);
  }

  /** Makes room for `count` bytes and returns where they begin. */
  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return at;
  }
}
