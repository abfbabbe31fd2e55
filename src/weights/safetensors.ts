/**
 * The safetensors format: 8 bytes of header length (u64, little-endian), a JSON header, then the tensors' bytes.
 * Source: the format section of the safetensors README; its rules (no holes, no overlap, header of at most 100 MB,
 * no duplicate keys) are enforced in full, because a file is input from a stranger.
 */
import { show, WeightError } from '../errors.ts';
import { DTYPE_BYTES, type DType } from '../tensor.ts';
import { parseStrictJson } from './json.ts';
import { decodeUtf8, type RangeFile } from './source.ts';

/** One tensor of a file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Name of the file that holds it. */
  readonly file: string;
  /** Where its first byte stands in the file. */
  readonly begin: number;
  /** Its length in bytes. */
  readonly bytes: number;
}

/** What a file's header says. */
export interface SafetensorsFile {
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of their bytes. */
  readonly tensors: readonly TensorInfo[];
}

/** The header of a tensor that is to be written. */
export interface TensorHeader {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Key of the header that is not a tensor. */
const METADATA = '__metadata__';

const PREFIX_BYTES = 8;

const MAX_HEADER_BYTES = 100_000_000;

/**
 * Reads and checks the header of a safetensors file; no tensor bytes are read.
 * @throws WeightError naming the file, the tensor, and what was expected and found
 */
export async function readHeader(file: RangeFile): Promise<SafetensorsFile> {
  if (file.size < PREFIX_BYTES) {
    throw new WeightError(
      file.name,
      undefined,
      'a safetensors file of at least 8 bytes',
      `${file.size} bytes`,
    );
  }
  const prefix = await file.read(0, PREFIX_BYTES);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw new WeightError(
      file.name,
      undefined,
      `a header of at most ${MAX_HEADER_BYTES} bytes`,
      `${length} bytes`,
    );
  }
  const dataBegin = PREFIX_BYTES + Number(length);
  if (dataBegin > file.size) {
    throw new WeightError(
      file.name,
      undefined,
      `a header of ${length} bytes`,
      `a file of ${file.size} bytes`,
    );
  }
  const text = decodeUtf8(file.name, await file.read(PREFIX_BYTES, Number(length)));
  if (!text.startsWith('{')) {
    throw new WeightError(file.name, undefined, 'a header that begins with {', show(text.slice(0, 20)));
  }
  const json = parseStrictJson(text, (expected, found, cause) => {
    throw new WeightError(file.name, undefined, `a header of ${expected}`, found, { cause });
  });
  const entries = Object.entries(asObject(file.name, undefined, json));
  const tensors = entries
    .filter(([name]) => name !== METADATA)
    .map(([name, entry]) => readEntry(file.name, name, entry, dataBegin, file.size));
  checkLayout(file, tensors.sort(byPosition), dataBegin);
  return { metadata: readMetadata(file.name, entries.find(([name]) => name === METADATA)?.[1]), tensors };
}

/**
 * A safetensors file's length and header, padded with spaces so that the tensors' bytes start 8-aligned, and the
 * order in which their bytes follow: wide elements first, so that each tensor is aligned to its own element.
 * @throws WeightError for a repeated or reserved name
 */
export function encodeHeader<T extends TensorHeader>(
  file: string,
  tensors: readonly T[],
  metadata?: Readonly<Record<string, string>>,
): { header: Uint8Array<ArrayBuffer>; order: T[] } {
  const order = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
  const entries = new Map<string, unknown>();
  if (metadata !== undefined) entries.set(METADATA, metadata);
  let end = 0;
  for (const { name, dtype, shape } of order) {
    if (name === METADATA || entries.has(name)) {
      throw new WeightError(
        file,
        name,
        'a new tensor name',
        name === METADATA ? 'a reserved one' : 'a repeated one',
      );
    }
    const begin = end;
    end += byteLength(file, name, dtype, shape);
    entries.set(name, { dtype, shape, data_offsets: [begin, end] });
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(PREFIX_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, PREFIX_BYTES);
  return { header, order };
}

/**
 * A whole safetensors file in memory.
 * @throws WeightError when a name repeats or a tensor's bytes are not as many as its shape and dtype say
 */
export function encodeSafetensors(
  tensors: readonly (TensorHeader & { readonly bytes: Uint8Array })[],
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const file = 'safetensors';
  const { header, order } = encodeHeader(file, tensors, metadata);
  const out = new Uint8Array(order.reduce((sum, tensor) => sum + tensor.bytes.length, header.length));
  out.set(header);
  let at = header.length;
  for (const { name, dtype, shape, bytes } of order) {
    const expected = byteLength(file, name, dtype, shape);
    if (bytes.length !== expected) throw new WeightError(file, name, `${expected} bytes`, `${bytes.length}`);
    out.set(bytes, at);
    at += bytes.length;
  }
  return out;
}

/** Bytes of a tensor; throws WeightError when a shape entry is not a size or the product is not an exact integer. */
export function byteLength(file: string, name: string, dtype: DType, shape: readonly unknown[]): number {
  let bytes = DTYPE_BYTES[dtype];
  for (const size of shape) {
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
      throw new WeightError(file, name, 'a shape of non-negative integers', show(shape));
    }
    bytes *= size;
    if (!Number.isSafeInteger(bytes))
      throw new WeightError(file, name, 'a shape below 2^53 bytes', show(shape));
  }
  return bytes;
}

function readEntry(
  file: string,
  name: string,
  entry: unknown,
  dataBegin: number,
  fileSize: number,
): TensorInfo {
  const { dtype, shape, data_offsets: offsets } = asObject(file, name, entry);
  if (!isDType(dtype)) {
    throw new WeightError(file, name, `a dtype of ${Object.keys(DTYPE_BYTES).join(', ')}`, show(dtype));
  }
  if (!Array.isArray(shape))
    throw new WeightError(file, name, 'a shape of non-negative integers', show(shape));
  const bytes = byteLength(file, name, dtype, shape);
  if (
    !Array.isArray(offsets) ||
    offsets.length !== 2 ||
    !offsets.every((at) => Number.isSafeInteger(at) && at >= 0)
  ) {
    throw new WeightError(file, name, 'data_offsets of two non-negative integers', show(offsets));
  }
  const [begin, end] = offsets;
  const space = fileSize - dataBegin;
  if (begin > end) throw new WeightError(file, name, 'data_offsets in ascending order', show(offsets));
  if (end > space)
    throw new WeightError(file, name, `data_offsets within ${space} bytes of data`, show(offsets));
  if (end - begin !== bytes) {
    throw new WeightError(file, name, `${bytes} bytes for ${dtype} ${show(shape)}`, `${end - begin}`);
  }
  return { name, dtype, shape, file, begin: dataBegin + begin, bytes };
}

function byPosition(a: TensorInfo, b: TensorInfo): number {
  return a.begin - b.begin || a.bytes - b.bytes;
}

/** The tensors must cover the bytes after the header exactly: no overlap, no hole, nothing behind them. */
function checkLayout(file: RangeFile, tensors: readonly TensorInfo[], dataBegin: number): void {
  let end = dataBegin;
  let previous = 'the header';
  for (const { name, begin, bytes } of tensors) {
    if (begin !== end) {
      const found = begin < end ? `an overlap of ${end - begin} bytes` : `a hole of ${begin - end} bytes`;
      throw new WeightError(file.name, name, `its bytes right after ${previous}`, found);
    }
    end = begin + bytes;
    previous = `tensor ${show(name)}`;
  }
  if (end !== file.size) {
    throw new WeightError(
      file.name,
      undefined,
      `the end of the file at ${end}`,
      `${file.size - end} more bytes`,
    );
  }
}

function readMetadata(file: string, json: unknown): Record<string, string> {
  const metadata: [string, string][] = [];
  if (json === undefined) return {};
  for (const [key, value] of Object.entries(asObject(file, METADATA, json))) {
    if (typeof value !== 'string')
      throw new WeightError(file, METADATA, `a string under ${show(key)}`, show(value));
    metadata.push([key, value]);
  }
  return Object.fromEntries(metadata);
}

function asObject(file: string, tensor: string | undefined, json: unknown): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new WeightError(file, tensor, 'a JSON object', show(json));
  }
  return json as Record<string, unknown>;
}

function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value);
}
