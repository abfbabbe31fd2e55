/** Checkpoints in the Hugging Face layout: `config.json` and safetensors files. */
import { hasVisionTower, type ModelConfig, parseConfig, parseQuantization } from '../config/index.ts';
import { ConfigError, WeightError } from '../errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import { findWeight } from './find_weight.ts';
import { INDEX_FILE, parseIndex } from './index_file.ts';
import { parseStrictJson } from './json.ts';
import { isIgnoredTensor, isVisionTensor } from './names.ts';
import { OpenFiles } from './open_files.ts';
import { readHeader } from './safetensors.ts';
import { makeCheckpoint, selectWeights } from './select.ts';
import { type FileSource, readText } from './source.ts';
import type { TensorData } from './tensor_data.ts';

/** The file that shows that a folder is a checkpoint in this layout. */
export const CONFIG_FILE = 'config.json';

const SINGLE_FILE = 'model.safetensors';

/**
 * Opens `config.json`, then the shards of `model.safetensors.index.json` or, without an index, `model.safetensors`.
 *
 * @param text the text of `config.json`
 * @throws as openCheckpoint
 */
export async function openSafetensors(source: FileSource, text: string): Promise<Checkpoint> {
  const json = parseStrictJson(text, (expected, found) => {
    throw new ConfigError('config', expected, found, CONFIG_FILE);
  });
  const stated = parseConfig(json, CONFIG_FILE);
  const quantization = parseQuantization(json, CONFIG_FILE);
  const vision = hasVisionTower(json);
  const index = await readIndex(source);
  const files = new OpenFiles(source);
  try {
    const tensors = await readShards(files, index);
    const config = withPresentBlocks(stated, tensors);
    const weights = selectWeights(
      config,
      tensors,
      (wanted) => findWeight(wanted, tensors, quantization),
      (name) => isIgnoredTensor(name) || (vision && isVisionTensor(name)),
      index === undefined ? SINGLE_FILE : INDEX_FILE,
    );
    return makeCheckpoint({ name: source.name, config, weights, close: () => files.close() });
  } catch (error) {
    await files.close();
    throw error;
  }
}

/**
 * The configuration with the prediction blocks that the file holds, counted from the first: programs that know nothing
 * of them save the trunk alone, beside a configuration that still counts them. A block of which only parts are there
 * stays, and is then missed.
 */
function withPresentBlocks(config: ModelConfig, tensors: ReadonlyMap<string, unknown>): ModelConfig {
  if (config.architecture === 'step3') return config;
  const { num_hidden_layers, num_nextn_predict_layers: stated } = config;
  const layers = new Set(Array.from(tensors.keys(), (name) => /^model\.layers\.(\d+)\./.exec(name)?.[1]));
  let present = 0;
  while (present < stated && layers.has(String(num_hidden_layers + present))) present++;
  return present === stated ? config : { ...config, num_nextn_predict_layers: present };
}

async function readIndex(source: FileSource): Promise<ReadonlyMap<string, string> | undefined> {
  const text = await readText(source, INDEX_FILE);
  return text === undefined ? undefined : parseIndex(text, INDEX_FILE);
}

/** All tensors of all shards, each exactly where the index says. */
async function readShards(
  files: OpenFiles,
  index: ReadonlyMap<string, string> | undefined,
): Promise<Map<string, TensorData>> {
  const tensors = new Map<string, TensorData>();
  for (const shard of index === undefined ? [SINGLE_FILE] : new Set(index.values())) {
    const file = await files.open(shard);
    if (file === undefined) throw missing(shard, files.source, index);
    for (const tensor of (await readHeader(file)).tensors) {
      const { name } = tensor;
      const other = tensors.get(name);
      if (other !== undefined) {
        throw new WeightError(shard, name, 'a tensor in one shard', `it in ${other.file} too`);
      }
      if (index !== undefined && index.get(name) !== shard) {
        throw new WeightError(shard, name, `what ${INDEX_FILE} lists`, 'a tensor that it does not list here');
      }
      tensors.set(name, files.tensor(tensor));
    }
  }
  for (const [name, shard] of index ?? []) {
    if (!tensors.has(name)) {
      throw new WeightError(shard, name, `the tensor that ${INDEX_FILE} lists`, 'no such tensor');
    }
  }
  return tensors;
}

function missing(file: string, source: FileSource, index?: ReadonlyMap<string, string>): WeightError {
  const expected =
    file === SINGLE_FILE ? `this file or ${INDEX_FILE} in ${source.name}` : `this file in ${source.name}`;
  const lister = index === undefined ? '' : `, though ${INDEX_FILE} names it`;
  return new WeightError(file, undefined, expected, `no such file${lister}`);
}
