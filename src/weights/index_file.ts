/** `model.safetensors.index.json`: which shard holds which tensor. */
import { show, WeightError } from '../errors.ts';
import { parseStrictJson } from './json.ts';

/** What the Hugging Face tools call the index. */
export const INDEX_FILE = 'model.safetensors.index.json';

/**
 * The `weight_map` of an index: tensor name → shard file name.
 * @throws WeightError when it is not an object of strings, or a shard name could lead out of the checkpoint's folder
 */
export function parseIndex(text: string, file: string): ReadonlyMap<string, string> {
  const json = parseStrictJson(text, (expected, found, cause) => {
    throw new WeightError(file, undefined, expected, found, { cause });
  });
  const weightMap = isObject(json) ? json.weight_map : undefined;
  if (!isObject(weightMap)) throw new WeightError(file, undefined, 'an object weight_map', show(weightMap));
  const shards = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !isFileName(shard)) {
      throw new WeightError(file, tensor, 'the name of a .safetensors file beside the index', show(shard));
    }
    shards.set(tensor, shard);
  }
  if (shards.size === 0) throw new WeightError(file, undefined, 'a weight_map with tensors', 'an empty one');
  return shards;
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/** A plain name: no path separator, drive letter, parent folder, hidden file or control character. */
function isFileName(name: string): boolean {
  return name.length <= 255 && /^[\w+@=-][\w .+@=-]*\.safetensors$/.test(name);
}
