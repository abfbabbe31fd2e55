/** Checked reading of GGUF metadata: every failure is a ConfigError that names the key. */
import { ConfigError } from '../errors.ts';
import type { GgufValue } from './gguf.ts';

/** The metadata of a file, and which of its keys have been read. */
export class Metadata {
  readonly file: string;
  readonly #values: ReadonlyMap<string, GgufValue>;
  readonly #read = new Set<string>();

  constructor(file: string, values: ReadonlyMap<string, GgufValue>) {
    this.file = file;
    this.#values = values;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string): GgufValue | undefined {
    this.#read.add(key);
    return this.#values.get(key);
  }

  /** Throws the ConfigError for a key; `got` defaults to its value. */
  fail(key: string, expected: string, got: unknown = this.#values.get(key)): never {
    throw new ConfigError(key, expected, got, this.file);
  }

  /** An integer in `[0, 2^53)`; `fallback`, if given, stands in for an absent key. */
  integer(key: string, fallback?: number): number {
    if (fallback !== undefined && !this.has(key)) return fallback;
    const value = this.get(key);
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
      ? value
      : this.fail(key, 'an integer');
  }

  /** A finite number, as the decimal it was written from: files store 32 bits of 1e-5. */
  number(key: string, fallback?: number): number {
    if (fallback !== undefined && !this.has(key)) return fallback;
    const value = this.get(key);
    return typeof value === 'number' && Number.isFinite(value) ? shortest(value) : this.fail(key, 'a number');
  }

  boolean(key: string, fallback?: boolean): boolean {
    if (fallback !== undefined && !this.has(key)) return fallback;
    const value = this.get(key);
    return typeof value === 'boolean' ? value : this.fail(key, 'true or false');
  }

  string(key: string): string {
    const value = this.get(key);
    return typeof value === 'string' ? value : this.fail(key, 'a text');
  }

  strings(key: string): readonly string[] {
    return this.#list(key, (item): item is string => typeof item === 'string', 'texts');
  }

  /** `length` numbers; a single one in the file stands for all. */
  numbers(key: string, length: number): readonly number[] {
    const value = this.get(key);
    if (typeof value === 'number') return Array<number>(length).fill(this.number(key));
    const list = this.#list(
      key,
      (item): item is number => typeof item === 'number' && Number.isFinite(item),
      'numbers',
    );
    return this.#ofLength(key, list, length).map(shortest);
  }

  /** As {@link numbers}, of truth values. */
  booleans(key: string, length: number): readonly boolean[] {
    const list = this.#list(key, (item): item is boolean => typeof item === 'boolean', 'truth values');
    return this.#ofLength(key, list, length);
  }

  /** A list of integers of any length. */
  integers(key: string): readonly number[] {
    return this.#list(key, (item): item is number => Number.isSafeInteger(item), 'integers');
  }

  /** Throws unless the key is absent or exactly `value`. */
  mustBe(key: string, value: string | number | boolean): void {
    const found = this.get(key);
    if (found !== undefined && found !== value) {
      this.fail(key, `${JSON.stringify(value)} (nothing else is supported)`);
    }
  }

  /** Throws for the first key that begins with `prefix` and was not read: it could change the arithmetic. */
  refuseUnread(prefix: string): void {
    for (const key of this.#values.keys()) {
      if (key.startsWith(prefix) && !this.#read.has(key)) {
        this.fail(key, 'only keys that are known for this architecture');
      }
    }
  }

  #list<T>(key: string, valid: (item: unknown) => item is T, what: string): readonly T[] {
    const value: unknown = this.get(key);
    if (!Array.isArray(value)) return this.fail(key, `a list of ${what}`);
    const bad = value.findIndex((item) => !valid(item));
    return bad < 0 ? value : this.fail(key, `a list of ${what}`, value[bad]);
  }

  #ofLength<T>(key: string, list: readonly T[], length: number): readonly T[] {
    return list.length === length ? list : this.fail(key, `${length} values`, `${list.length} values`);
  }
}

/** The shortest decimal that has the same 32-bit float; other numbers as they are. */
function shortest(value: number): number {
  if (Math.fround(value) !== value) return value;
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}
