/** The weights that a configuration asks for, out of what the files hold. */
import type { ModelConfig } from '../config/index.ts';
import { show, WeightError } from '../errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { FoundWeight } from './find_weight.ts';
import { expectedTensors, type TensorSpec } from './names.ts';
import type { CheckpointWeight, TensorData } from './tensor_data.ts';

/**
 * Finds every weight of the model's forward pass, in its order.
 *
 * @param tensors everything that the files hold
 * @param find the weight of a name and shape
 * @param leftOut whether a tensor may be there without being asked for
 * @param lister the file that should have listed a missing one
 * @throws WeightError for a weight that is missing and for a tensor that no weight is made of
 */
export function selectWeights(
  config: ModelConfig,
  tensors: ReadonlyMap<string, TensorData>,
  find: (wanted: TensorSpec) => FoundWeight | undefined,
  leftOut: (tensor: string) => boolean,
  lister: string,
): Map<string, CheckpointWeight> {
  const weights = new Map<string, CheckpointWeight>();
  const used = new Set<string>();
  const missing: TensorSpec[] = [];
  for (const wanted of expectedTensors(config)) {
    const found = find(wanted);
    if (found === undefined) {
      missing.push(wanted);
      continue;
    }
    weights.set(wanted.name, found.weight);
    for (const name of found.used) used.add(name);
  }
  if (missing.length > 0) {
    const [{ name, shape }] = missing;
    const others = missing.length === 1 ? '' : ` (nor ${missing.length - 1} others)`;
    throw new WeightError(lister, name, `shape ${show(shape)}`, `no such tensor${others}`);
  }
  for (const { name, file, shape } of tensors.values()) {
    if (used.has(name) || leftOut(name)) continue;
    throw new WeightError(
      file,
      name,
      'only tensors that the configuration asks for',
      `one more, ${show(shape)}`,
    );
  }
  return weights;
}

/** A checkpoint of these weights. */
export function makeCheckpoint(
  parts: Pick<Checkpoint, 'name' | 'config' | 'weights' | 'close'> & Partial<Pick<Checkpoint, 'texts'>>,
): Checkpoint {
  const { weights } = parts;
  let bytes = 0;
  for (const weight of weights.values()) bytes += weight.bytes;
  return { texts: new Map(), ...parts, bytes, weight: (name) => weights.get(name) };
}
