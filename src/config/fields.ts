/** Checked reading of the fields of a JSON object: every failure is a ConfigError that names the field. */
import { ConfigError } from '../errors.ts';

/** One JSON object and where it stands, so that errors can name `text_config.moe_top_k` and the file. */
export class Fields {
  readonly file: string | undefined;
  private readonly path: string;
  private readonly values: object;

  /**
   * @param json what JSON.parse returned; anything but an object throws ConfigError
   * @param file name for messages
   * @param path name of the object inside the file; '' for the document itself
   */
  constructor(json: unknown, file: string | undefined, path = '') {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new ConfigError(path === '' ? 'config' : path, 'a JSON object', json, file);
    }
    this.file = file;
    this.path = path;
    this.values = json;
  }

  /** The raw value; undefined when absent. Only own fields count, so `constructor` is not a field. */
  get(name: string): unknown {
    return Object.hasOwn(this.values, name) ? Reflect.get(this.values, name) : undefined;
  }

  /** Whether the field is there and not null: Hugging Face writes null for "not set". */
  has(name: string): boolean {
    const value = this.get(name);
    return value !== undefined && value !== null;
  }

  /** Throws the ConfigError for a field; `got` defaults to its value. */
  fail(name: string, expected: string, got: unknown = this.get(name)): never {
    throw new ConfigError(this.path === '' ? name : `${this.path}.${name}`, expected, got, this.file);
  }

  /** The object under `name`; throws ConfigError when it is anything else. */
  object(name: string): Fields {
    return new Fields(this.get(name), this.file, this.path === '' ? name : `${this.path}.${name}`);
  }

  /** An integer in `[min, max]`; `fallback`, if given, stands in for an absent or null field. */
  integer(name: string, min: number, max: number, fallback?: number): number {
    if (fallback !== undefined && !this.has(name)) return fallback;
    const value = this.get(name);
    if (isIntegerIn(value, min, max)) return value;
    return this.fail(name, `an integer from ${min} to ${max}`);
  }

  /** A finite number in `(0, max]`; `fallback` as in {@link integer}. */
  positive(name: string, max: number, fallback: number): number {
    if (!this.has(name)) return fallback;
    const value = this.get(name);
    if (typeof value === 'number' && value > 0 && value <= max) return value;
    return this.fail(name, `a number above 0 and at most ${max}`);
  }

  /** A boolean; `fallback` as in {@link integer}. */
  boolean(name: string, fallback: boolean): boolean {
    if (!this.has(name)) return fallback;
    const value = this.get(name);
    return typeof value === 'boolean' ? value : this.fail(name, 'true or false');
  }

  /** Throws unless the field is absent, null, or exactly `value`. */
  mustBe(name: string, value: string | number | boolean | null): void {
    if (!this.has(name) || this.get(name) === value) return;
    this.fail(
      name,
      value === null ? 'nothing (not supported)' : `${JSON.stringify(value)} (nothing else is supported)`,
    );
  }
}

/** Whether `value` is an integer number in `[min, max]`. */
export function isIntegerIn(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max;
}
