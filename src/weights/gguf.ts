/**
 * The GGUF container, versions 2 and 3, little-endian: counts, key-value metadata, tensor entries, then the tensors'
 * bytes, each aligned. Source: `docs/gguf.md` of ggml.
 *
 * This reader is our own because a header is input from a stranger: every count, length and offset is held against the
 * bytes that the file really has before anything is allocated for it. The reader of huggingface.js pads truncated files
 * with zeros and cuts strings short without an error; the tests use it to check our writer.
 */
import { show, WeightError } from '../errors.ts';
import { elements } from '../tensor.ts';
import { GGML_TYPE_NAMES, type GgmlType, ggmlType, ggmlTypeName } from './ggml_types.ts';
import { Cursor } from './gguf_cursor.ts';
import type { RangeFile } from './source.ts';

/** A metadata value. 64-bit integers beyond 2^53 are refused, so numbers are exact. */
export type GgufValue =
  | string
  | number
  | boolean
  | readonly string[]
  | readonly number[]
  | readonly boolean[];

/** One tensor of a file. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgmlType;
  /** Outermost first, as everywhere else: the reverse of the file's order. */
  readonly shape: readonly number[];
  /** Name of the file that holds it. */
  readonly file: string;
  /** Where its first byte stands in the file. */
  readonly begin: number;
  /** Its length in bytes. */
  readonly bytes: number;
}

/** What a file's header says. */
export interface GgufFile {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** In the order of the header. */
  readonly tensors: readonly GgufTensor[];
}

// Far above real files: the largest headers (vocabularies of 260,000 tokens with their merges) have about 20 MB.
const MAX_HEADER_BYTES = 2 ** 27;
const MAX_KEYS = 2 ** 14;
const MAX_TENSORS = 2 ** 17;
/** Elements of all metadata arrays of a file together. */
const MAX_ITEMS = 2 ** 22;
const MAX_NAME_BYTES = 2 ** 10;
const MAX_DIMS = 4;
const MAX_ALIGNMENT = 2 ** 16;

const MAGIC = 0x46554747;
const DEFAULT_ALIGNMENT = 32;

/** Metadata value types by number: name, and fewest bytes that one value takes. */
const VALUE_TYPES = [
  ['uint8', 1],
  ['int8', 1],
  ['uint16', 2],
  ['int16', 2],
  ['uint32', 4],
  ['int32', 4],
  ['float32', 4],
  ['bool', 1],
  ['string', 8],
  ['array', 12],
  ['uint64', 8],
  ['int64', 8],
  ['float64', 8],
] as const;

/** Name of a metadata value type. */
export type GgufValueType = (typeof VALUE_TYPES)[number][0];

/** Number of a metadata value type in a file. */
export function valueTypeNumber(type: GgufValueType): number {
  return VALUE_TYPES.findIndex(([name]) => name === type);
}

/**
 * Reads and checks the header of a GGUF file; no tensor bytes are read. Memory is bounded by a small multiple of the
 * header's bytes, which are at most 128 MiB.
 *
 * @throws WeightError naming the file, the key or tensor, and what was expected and found.
 */
export async function readGguf(file: RangeFile): Promise<GgufFile> {
  const reader = new HeaderReader(file);
  const { tensors: tensorCount, keys } = await reader.counts();
  const metadata = await reader.metadata(keys);
  const alignment = readAlignment(file.name, metadata);
  const entries = await reader.entries(tensorCount);
  const begin = Math.ceil(reader.position / alignment) * alignment;
  return { metadata, tensors: place(file, entries, begin, alignment) };
}

/** A tensor before its place in the file is known to be good. */
interface Entry {
  readonly name: string;
  readonly type: GgmlType;
  readonly shape: readonly number[];
  readonly offset: number;
}

class HeaderReader {
  readonly #file: string;
  readonly #cursor: Cursor;
  #items = 0;

  constructor(file: RangeFile) {
    this.#file = file.name;
    this.#cursor = new Cursor(file, MAX_HEADER_BYTES);
  }

  get position(): number {
    return this.#cursor.position;
  }

  /** Magic, version, and the two counts. */
  async counts(): Promise<{ tensors: number; keys: number }> {
    const cursor = this.#cursor;
    await cursor.need(24, 'a GGUF header');
    const magic = cursor.u32();
    if (magic !== MAGIC) {
      throw this.#error('a GGUF file (bytes "GGUF")', `0x${magic.toString(16).padStart(8, '0')}`);
    }
    const version = cursor.u32();
    if (version !== 2 && version !== 3) {
      const swapped = version === 0x02000000 || version === 0x03000000;
      throw this.#error('GGUF version 2 or 3', swapped ? 'a big-endian file' : `version ${version}`);
    }
    const tensors = this.#count(cursor.u64(), MAX_TENSORS, 24, 'tensors');
    const keys = this.#count(cursor.u64(), MAX_KEYS, 13, 'metadata keys');
    return { tensors, keys };
  }

  async metadata(count: number): Promise<Map<string, GgufValue>> {
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < count; i++) {
      const key = await this.#string(`metadata key ${i}`, MAX_NAME_BYTES);
      if (metadata.has(key)) throw this.#error('every metadata key once', `the key ${show(key)} twice`);
      await this.#cursor.need(4, 'a value type');
      const value = await this.#value(this.#type(this.#cursor.u32(), key), key);
      metadata.set(key, value);
    }
    return metadata;
  }

  async entries(count: number): Promise<Entry[]> {
    const entries: Entry[] = [];
    const names = new Set<string>();
    for (let i = 0; i < count; i++) {
      const name = await this.#string(`the name of tensor ${i}`, MAX_NAME_BYTES);
      if (names.has(name)) throw new WeightError(this.#file, name, 'every tensor once', 'it twice');
      names.add(name);
      entries.push(await this.#entry(name));
    }
    return entries;
  }

  async #entry(name: string): Promise<Entry> {
    const cursor = this.#cursor;
    await cursor.need(4, `tensor ${show(name)}`);
    const dims = cursor.u32();
    if (dims < 1 || dims > MAX_DIMS) {
      throw new WeightError(this.#file, name, `1 to ${MAX_DIMS} dimensions`, String(dims));
    }
    await cursor.need(dims * 8 + 12, `tensor ${show(name)}`);
    const sizes = Array.from({ length: dims }, () => cursor.u64());
    const bad = sizes.find((size) => size < 1n || size > Number.MAX_SAFE_INTEGER);
    const shape = sizes.map(Number).reverse();
    if (bad !== undefined || !Number.isSafeInteger(elements(shape))) {
      throw new WeightError(
        this.#file,
        name,
        'sizes from 1, below 2^53 together',
        `[${sizes.reverse().join(', ')}]`,
      );
    }
    const id = cursor.u32();
    const type = ggmlType(id);
    if (type === undefined) {
      throw new WeightError(
        this.#file,
        name,
        `a type of ${GGML_TYPE_NAMES}`,
        `${ggmlTypeName(id)}, which is not supported`,
      );
    }
    const columns = shape[shape.length - 1];
    if (columns % type.elements !== 0) {
      throw new WeightError(
        this.#file,
        name,
        `rows of whole ${type.format} blocks of ${type.elements}`,
        `${columns} columns`,
      );
    }
    const offset = cursor.u64();
    if (offset > Number.MAX_SAFE_INTEGER) {
      throw new WeightError(this.#file, name, 'an offset within the file', String(offset));
    }
    return { name, type, shape, offset: Number(offset) };
  }

  async #value(type: GgufValueType, key: string): Promise<GgufValue> {
    if (type === 'string') return this.#string(`metadata ${show(key)}`, MAX_HEADER_BYTES);
    if (type === 'array') return this.#array(key);
    await this.#cursor.need(VALUE_TYPES[valueTypeNumber(type)][1], `metadata ${show(key)}`);
    return this.#scalar(type, key);
  }

  async #array(key: string): Promise<GgufValue> {
    const cursor = this.#cursor;
    await cursor.need(12, `metadata ${show(key)}`);
    const type = this.#type(cursor.u32(), key);
    if (type === 'array') throw this.#error(`metadata ${show(key)} of plain values`, 'an array of arrays');
    const bytes = VALUE_TYPES[valueTypeNumber(type)][1];
    const count = this.#count(cursor.u64(), MAX_ITEMS - this.#items, bytes, `values of ${show(key)}`);
    this.#items += count;
    const values: (string | number | boolean)[] = [];
    for (let i = 0; i < count; i++) {
      if (type === 'string') values.push(await this.#string(`metadata ${show(key)}`, MAX_HEADER_BYTES));
      else {
        if (!cursor.has(bytes)) await cursor.need(bytes, `metadata ${show(key)}`);
        values.push(this.#scalar(type, key));
      }
    }
    return values as GgufValue;
  }

  #scalar(type: Exclude<GgufValueType, 'string' | 'array'>, key: string): number | boolean {
    const cursor = this.#cursor;
    switch (type) {
      case 'uint8':
        return cursor.u8();
      case 'int8':
        return cursor.i8();
      case 'uint16':
        return cursor.u16();
      case 'int16':
        return cursor.i16();
      case 'uint32':
        return cursor.u32();
      case 'int32':
        return cursor.i32();
      case 'float32':
        return cursor.f32();
      case 'float64':
        return cursor.f64();
      case 'bool': {
        const value = cursor.u8();
        if (value > 1) throw this.#error(`metadata ${show(key)} of 0 or 1`, String(value));
        return value === 1;
      }
      default: {
        const value = type === 'uint64' ? cursor.u64() : cursor.i64();
        if (!Number.isSafeInteger(Number(value))) {
          throw this.#error(`metadata ${show(key)} below 2^53`, String(value));
        }
        return Number(value);
      }
    }
  }

  async #string(what: string, limit: number): Promise<string> {
    const cursor = this.#cursor;
    if (!cursor.has(8)) await cursor.need(8, what);
    const length = cursor.u64();
    if (length > limit || length > cursor.remaining) {
      const most = Math.min(limit, cursor.remaining);
      throw this.#error(`${what} of at most ${most} bytes`, `${length} bytes`);
    }
    const count = Number(length);
    if (!cursor.has(count)) await cursor.need(count, what);
    const text = cursor.utf8(count);
    if (text === undefined) throw this.#error(`${what} in UTF-8`, 'bytes that are not UTF-8');
    return text;
  }

  #type(number: number, key: string): GgufValueType {
    const type = VALUE_TYPES[number]?.[0];
    if (type !== undefined) return type;
    throw this.#error(
      `metadata ${show(key)} of a type below ${VALUE_TYPES.length}`,
      `a value of type ${number}`,
    );
  }

  /** A count of things that take at least `bytes` bytes each, which must fit into what is left of the file. */
  #count(count: bigint, most: number, bytes: number, what: string): number {
    const limit = Math.min(most, Math.floor(this.#cursor.remaining / bytes));
    if (count > limit) throw this.#error(`at most ${limit} ${what}`, String(count));
    return Number(count);
  }

  #error(expected: string, found: string): WeightError {
    return new WeightError(this.#file, undefined, expected, found);
  }
}

function readAlignment(file: string, metadata: ReadonlyMap<string, GgufValue>): number {
  const value = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  const power = typeof value === 'number' && value >= 8 && value <= MAX_ALIGNMENT && Number.isInteger(value);
  if (!power || !Number.isInteger(Math.log2(value))) {
    throw new WeightError(
      file,
      undefined,
      `general.alignment as a power of two from 8 to ${MAX_ALIGNMENT}`,
      show(value),
    );
  }
  return value;
}

/** The tensors must lie one after another, each at the next aligned offset, within the file. */
function place(file: RangeFile, entries: readonly Entry[], begin: number, alignment: number): GgufTensor[] {
  const tensors = entries.map(({ name, type, shape, offset }) => {
    const bytes = (elements(shape) / type.elements) * type.bytes;
    if (offset % alignment !== 0) {
      throw new WeightError(file.name, name, `an offset that is a multiple of ${alignment}`, String(offset));
    }
    if (begin + offset + bytes > file.size) {
      const end = Math.max(0, file.size - begin);
      throw new WeightError(
        file.name,
        name,
        `${bytes} bytes within ${end} bytes of data`,
        `offset ${offset} in a file of ${file.size} bytes`,
      );
    }
    return { name, type, shape, file: file.name, begin: begin + offset, bytes };
  });
  let end = begin;
  let previous = 'the header';
  for (const tensor of [...tensors].sort((a, b) => a.begin - b.begin)) {
    const expected = Math.ceil(end / alignment) * alignment;
    if (tensor.begin !== expected) {
      const distance = Math.abs(tensor.begin - expected);
      const found =
        tensor.begin < end ? `an overlap of ${end - tensor.begin} bytes` : `a hole of ${distance} bytes`;
      throw new WeightError(file.name, tensor.name, `its bytes right after ${previous}`, found);
    }
    end = tensor.begin + tensor.bytes;
    previous = `tensor ${show(tensor.name)}`;
  }
  return tensors;
}
