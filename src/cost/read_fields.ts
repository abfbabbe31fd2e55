/** Reading of sizes and of lists with an entry per layer, from any model's configuration. */
import { type Fields, isIntegerIn } from '../config/fields.ts';

/** Beyond this a size is a mistake: hidden sizes, experts and vocabularies of models stay far below. */
const MAX_SIZE = 2 ** 24;

/** Most layers that a model may have. */
export const MAX_LAYERS = 4096;

/** A size of at least 1; `fallback` where the field is absent. */
export function count(text: Fields, name: string, fallback?: number): number {
  return text.integer(name, 1, MAX_SIZE, fallback);
}

/** A size that may be 0, and is 0 where the field is absent unless `fallback` says otherwise. */
export function countOrZero(text: Fields, name: string, fallback = 0): number {
  return text.integer(name, 0, MAX_SIZE, fallback);
}

/** Whether a field holds a list with entries: transformers writes an empty one for "not given". */
export function listed(text: Fields, name: string): boolean {
  const value = text.get(name);
  return text.has(name) && !(Array.isArray(value) && value.length === 0);
}

/** A list with one of the `known` values for each layer; it may be longer. */
export function layerList(
  text: Fields,
  name: string,
  layers: number,
  known: readonly unknown[],
  expected: string,
): readonly unknown[] {
  const list = text.get(name);
  if (!Array.isArray(list) || list.length < layers) {
    text.fail(name, `a list for ${layers} layers`, Array.isArray(list) ? `${list.length} entries` : list);
  }
  const wrong = list.findIndex((value, layer) => layer < layers && !known.includes(value));
  if (wrong >= 0) text.fail(`${name}[${wrong}]`, expected, list[wrong]);
  return list;
}

/** Numbers of layers, as a list or like "3,4,5". */
export function layerNumbers(text: Fields, name: string, layers: number): ReadonlySet<number> {
  const raw = text.get(name);
  const expected = `layer numbers from 0 to ${layers - 1}, as a list or like "3,4,5"`;
  const split = (list: string) => (list.trim() === '' ? [] : list.split(','));
  const items: unknown[] | undefined =
    typeof raw === 'string' && raw.length <= 8 * MAX_LAYERS
      ? split(raw).map((item) => (/^\s*\d+\s*$/.test(item) ? Number(item) : item))
      : Array.isArray(raw)
        ? raw
        : undefined;
  if (items === undefined) text.fail(name, expected);
  const wrong = items.find((item) => !isIntegerIn(item, 0, layers - 1));
  if (wrong !== undefined || items.includes(undefined)) text.fail(name, expected, wrong);
  return new Set(items as number[]);
}
