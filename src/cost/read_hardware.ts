/** Hardware that users define in JSON. */
import { Fields } from '../config/fields.ts';
import { ConfigError } from '../errors.ts';
import type { Hardware } from './hardware.ts';

/** Numbers that a definition may give; only the bandwidth must be there. */
const NUMBERS = [
  'dollars_per_hour',
  'fp8_flops',
  'int8_ops',
  'bf16_flops',
  'fp32_flops',
  'bytes_per_second',
  'memory_bytes',
  'server_network',
  'matrix_rows',
] as const satisfies readonly (keyof Hardware)[];

const KNOWN = ['name', ...NUMBERS, 'source'];

/** Beyond this a rate is a slip of units: the fastest cards reach some 1e16 FLOP/s. */
const MOST = 1e21;

/**
 * Reads a parsed file: one definition or a list of them. Fields are those of {@link Hardware}, in FLOP/s, bytes and
 * dollars; `name` and `bytes_per_second` must be given, and what else is missing is named where it is needed.
 *
 * @throws ConfigError naming the field, also one that is not known
 */
export function readHardware(json: unknown, file: string): readonly Hardware[] {
  const list: unknown[] = Array.isArray(json) ? json : [json];
  if (list.length === 0) throw new ConfigError('hardware', 'at least one definition', json, file);
  return list.map((each, i) => readOne(each, Array.isArray(json) ? `hardware[${i}]` : 'hardware', file));
}

function readOne(json: unknown, path: string, file: string): Hardware {
  const fields = new Fields(json, file, path);
  for (const name of Object.keys(json as object)) {
    if (!KNOWN.includes(name)) fields.fail(name, `one of the fields ${KNOWN.join(', ')}`, name);
  }
  const numbers: Partial<Record<(typeof NUMBERS)[number], number>> = {};
  for (const name of NUMBERS) {
    if (fields.has(name)) numbers[name] = fields.positive(name, MOST, 0);
  }
  return {
    ...numbers,
    bytes_per_second: numbers.bytes_per_second ?? fields.fail('bytes_per_second', 'the memory bandwidth'),
    name: text(fields, 'name'),
    source: fields.has('source') ? text(fields, 'source') : file,
  };
}

/** A line of text that tables can show. */
function text(fields: Fields, name: string): string {
  const value = fields.get(name);

  if (typeof value !== 'string' || value.trim() === '' || value.length > 200 || /\p{Cc}/u.test(value)) {
    fields.fail(name, 'a line of 1 to 200 characters');
  }
  return value;
}
