/** Reads little-endian values from the start of a file on, a chunk at a time; never past its end or a byte limit. */
import { WeightError } from '../errors.ts';
import type { RangeFile } from './source.ts';

/** First chunk; later ones double up to the largest, so that long headers take few requests. */
const FIRST_CHUNK = 2 ** 17;
const MAX_CHUNK = 2 ** 23;

/** A position in a file. Callers `await need(n)` before they take n bytes. */
export class Cursor {
  readonly #file: RangeFile;
  readonly #limit: number;
  readonly #text = new TextDecoder('utf-8', { fatal: true });
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  /** Position of the chunk in the file, and of the next value in the chunk. */
  #base = 0;
  #at = 0;
  #chunk = FIRST_CHUNK;

  /** @param limit no byte from there on is read. */
  constructor(file: RangeFile, limit: number) {
    this.#file = file;
    this.#limit = Math.min(limit, file.size);
  }

  /** Position in the file. */
  get position(): number {
    return this.#base + this.#at;
  }

  /** Bytes that may still be read. */
  get remaining(): number {
    return this.#limit - this.position;
  }

  /** Whether `count` bytes can be taken without {@link need}. */
  has(count: number): boolean {
    return this.#at + count <= this.#bytes.length;
  }

  /**
   * Makes `count` bytes ready to take.
   *
   * @throws WeightError when the file or the header limit ends before; `what` says what was to be read.
   */
  async need(count: number, what: string): Promise<void> {
    if (this.has(count)) return;
    if (count > this.remaining) {
      const end = this.#limit === this.#file.size ? 'the end of the file' : 'the limit of a header';
      throw new WeightError(
        this.#file.name,
        undefined,
        `${count} bytes of ${what} at ${this.position}`,
        `${end} at ${this.#limit}`,
      );
    }
    const begin = this.position;
    const length = Math.min(Math.max(count, this.#chunk), this.#limit - begin);
    this.#bytes = await this.#file.read(begin, length);
    this.#view = new DataView(this.#bytes.buffer);
    this.#base = begin;
    this.#at = 0;
    this.#chunk = Math.min(2 * this.#chunk, MAX_CHUNK);
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  i8(): number {
    return this.#view.getInt8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  i16(): number {
    return this.#view.getInt16(this.#advance(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#advance(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8), true);
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.#advance(8), true);
  }

  f32(): number {
    return this.#view.getFloat32(this.#advance(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#advance(8), true);
  }

  /** `length` bytes of UTF-8; undefined when they are not. */
  utf8(length: number): string | undefined {
    const at = this.#advance(length);
    try {
      return this.#text.decode(this.#bytes.subarray(at, at + length));
    } catch {
      return undefined;
    }
  }

  #advance(count: number): number {
    const at = this.#at;
    this.#at += count;
    return at;
  }
}
