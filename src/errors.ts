/** Typed errors. Each carries its facts as fields, so that a caller need not parse a message. */

/** Plain facts attached to an error: names, expected and found values. */
export type Facts = Readonly<Record<string, unknown>>;

/** Base of every error this package throws on purpose. `code` is stable; `message` is for people, on one line. */
export class Step3Error extends Error {
  readonly code: string;
  readonly facts: Facts;

  constructor(code: string, message: string, facts: Facts = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.facts = facts;
  }
}

/** A `config.json` field that is missing, of the wrong type, out of range or not supported. */
export class ConfigError extends Step3Error {
  readonly field: string;

  constructor(field: string, expected: string, got: unknown, file?: string) {
    const where = file === undefined ? '' : `${file}: `;
    super('config', `${where}${field}: expected ${expected}, got ${show(got)}`, {
      file,
      field,
      expected,
      got,
    });
    this.field = field;
  }
}

/** A checkpoint file or tensor that is not what the configuration asks for. */
export class WeightError extends Step3Error {
  readonly file: string;
  readonly tensor: string | undefined;

  constructor(
    file: string,
    tensor: string | undefined,
    expected: string,
    found: string,
    options?: ErrorOptions,
  ) {
    const subject = tensor === undefined ? file : `${file}: tensor ${show(tensor)}`;
    super(
      'weight',
      `${subject}: expected ${expected}, found ${found}`,
      { file, tensor, expected, found },
      options,
    );
    this.file = file;
    this.tensor = tensor;
  }
}

/** A kernel given parameters it does not support, or whose WGSL did not compile. */
export class KernelError extends Step3Error {
  readonly kernel: string;

  constructor(kernel: string, message: string, facts: Facts = {}, options?: ErrorOptions) {
    super('kernel', `kernel ${kernel}: ${message}`, { kernel, ...facts }, options);
    this.kernel = kernel;
  }
}

/** No adapter, a missing feature or limit, or an error the device reported. */
export class DeviceError extends Step3Error {
  constructor(message: string, facts: Facts = {}, options?: ErrorOptions) {
    super('device', message, facts, options);
  }
}

/** The GPU device was lost: the running generation ends with this, and a new model can be loaded. */
export class DeviceLostError extends Step3Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super('device-lost', `the GPU device was lost (${reason}): ${message}`, { reason });
    this.reason = reason;
  }
}

/** A request that cannot be served: an empty prompt, a token outside the vocabulary, a prompt past the context. */
export class InputError extends Step3Error {
  readonly field: string;

  constructor(field: string, expected: string, got: unknown) {
    super('input', `${field}: expected ${expected}, got ${show(got)}`, { field, expected, got });
    this.field = field;
  }
}

/** A value as it should appear in a one-line message: strings quoted, long ones and long lists cut. Never throws. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return String(value);
  const text = stringify(typeof value === 'string' ? value.slice(0, 120) : value);
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

/** JSON of a value; a hostile one may be nested too deeply for JSON, or refer to itself. */
function stringify(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return Array.isArray(value) ? 'a list that JSON cannot show' : 'an object that JSON cannot show';
  }
}
