/** Where the files of a checkpoint come from: each source opens files by name, each file is read by byte ranges. */
import { WeightError } from '../errors.ts';

/** An open file. */
export interface RangeFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`, at the start of `into` where that is given and long enough, else of a buffer of
   * their own (so aligned for any element type). Throws WeightError when the file does not have them.
   */
  read(offset: number, length: number, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** A folder of files, wherever it is. */
export interface FileSource {
  /** For messages: a path or an address. */
  readonly name: string;
  /** Undefined when there is no such file; WeightError when there is one that cannot be read. */
  open(file: string): Promise<RangeFile | undefined>;
  /** Names of its files, where it can tell. */
  list?(): Promise<readonly string[]>;
}

/** Largest text file that is read whole: the biggest tokenizers and indexes are a few megabytes. */
const MAX_TEXT_BYTES = 64 * 2 ** 20;

/** Files held in memory, by name. */
export function memorySource(name: string, files: ReadonlyMap<string, Uint8Array>): FileSource {
  return {
    name,
    open: async (file) => {
      const bytes = files.get(file);
      return bytes === undefined ? undefined : memoryFile(file, bytes);
    },
    list: async () => [...files.keys()],
  };
}

/** A source with further text files, which stand in for its own of the same names. */
export function withTexts(source: FileSource, texts: ReadonlyMap<string, string>): FileSource {
  return {
    ...source,
    open: async (file) => {
      const text = texts.get(file);
      return text === undefined ? source.open(file) : memoryFile(file, new TextEncoder().encode(text));
    },
  };
}

/** One file held in memory. */
export function memoryFile(name: string, bytes: Uint8Array): RangeFile {
  return {
    name,
    size: bytes.length,
    read: async (offset, length, into) => {
      checkRange(name, bytes.length, offset, length);
      const out = within(into, length) ?? allocate(name, length);
      out.set(bytes.subarray(offset, offset + length));
      return out;
    },
    close: async () => {},
  };
}

/**
 * The text of a UTF-8 file, or undefined when there is none.
 * @throws WeightError when it is larger than 64 MiB or not UTF-8
 */
export async function readText(source: FileSource, file: string): Promise<string | undefined> {
  const opened = await source.open(file);
  if (opened === undefined) return undefined;
  try {
    if (opened.size > MAX_TEXT_BYTES) {
      throw new WeightError(
        file,
        undefined,
        `at most ${MAX_TEXT_BYTES} bytes of text`,
        `${opened.size} bytes`,
      );
    }
    return decodeUtf8(file, await opened.read(0, opened.size));
  } finally {
    await opened.close();
  }
}

/** Text of UTF-8 bytes; throws WeightError when they are not UTF-8. */
export function decodeUtf8(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new WeightError(file, undefined, 'UTF-8 text', 'bytes that are not UTF-8', { cause });
  }
}

/** Throws WeightError unless `[offset, offset + length)` lies inside a file of `size` bytes. */
export function checkRange(file: string, size: number, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || offset + length > size) {
    throw new WeightError(file, undefined, `${length} bytes at ${offset}`, `a file of ${size} bytes`);
  }
}

/** The first `length` bytes of `into`, or undefined where it has fewer or is none. */
export function within(
  into: Uint8Array<ArrayBuffer> | undefined,
  length: number,
): Uint8Array<ArrayBuffer> | undefined {
  return into !== undefined && into.length >= length ? into.subarray(0, length) : undefined;
}

/** A fresh buffer; throws WeightError when one that large cannot be had. */
export function allocate(file: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new WeightError(file, undefined, 'a range that fits in memory', `${length} bytes`, { cause });
  }
}
