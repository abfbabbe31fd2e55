/** A checkpoint: a configuration and the tensors it asks for, each checked before any weight is read. */
import { hasVisionTower, type ModelConfig, parseConfig } from '../config/index.ts';
import { ConfigError, show, WeightError } from '../errors.ts';
import { formatOf } from '../tensor.ts';
import { INDEX_FILE, parseIndex } from './index_file.ts';
import { parseStrictJson } from './json.ts';
import { expectedTensors, isIgnoredTensor, isVisionTensor } from './names.ts';
import { readHeader, type TensorInfo } from './safetensors.ts';
import { checkRange, type FileSource, type RangeFile, readText } from './source.ts';

const CONFIG_FILE = 'config.json';
const SINGLE_FILE = 'model.safetensors';

/** An open checkpoint. */
export interface Checkpoint {
  /** For messages: where it came from. */
  readonly name: string;
  readonly config: ModelConfig;
  /** The language model's tensors, in the order of a forward pass; dtypes are F32, F16 or BF16. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Bytes of all of them. */
  readonly bytes: number;
  /**
   * `length` bytes from byte `begin` of a tensor, at the start of a buffer of their own.
   * Throws WeightError for an unknown tensor, a range outside it, or a file that fails.
   */
  read(tensor: string, begin: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Closes the files; reading fails afterwards. */
  close(): Promise<void>;
}

/**
 * Opens a checkpoint: `config.json`, then the shards of `model.safetensors.index.json` or, without an index,
 * `model.safetensors`. Only headers are read. The vision tensors of a `step3_vl` checkpoint are ignored.
 * @throws ConfigError naming the field of `config.json`
 * @throws WeightError naming the file, the tensor, what was expected and what was found: a missing file, a malformed
 *   header or index, a tensor that is missing, unknown, in two shards, or of the wrong shape or dtype
 */
export async function openCheckpoint(source: FileSource): Promise<Checkpoint> {
  const { config, vision } = await readConfig(source);
  const index = await readIndex(source);
  const files = new Map<string, RangeFile>();
  const close = async () => {
    const open = [...files.values()];
    files.clear();
    await Promise.all(open.map((file) => file.close()));
  };
  try {
    const found = await readShards(source, index, files);
    const tensors = selectTensors(config, found, vision, index === undefined ? SINGLE_FILE : INDEX_FILE);
    return {
      name: source.name,
      config,
      tensors,
      bytes: sumBytes(tensors.values()),
      read: async (tensor, begin, length) => {
        const info = tensors.get(tensor);
        if (info === undefined) throw unknownTensor(tensor, source.name);
        checkRange(info.file, info.bytes, begin, length);
        const file = files.get(info.file);
        if (file === undefined) throw new WeightError(info.file, tensor, 'an open file', 'a closed one');
        return file.read(info.begin + begin, length);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The error for reading a tensor that the checkpoint called `checkpoint` does not have. */
export function unknownTensor(tensor: string, checkpoint: string): WeightError {
  return new WeightError(checkpoint, tensor, 'the name of a tensor', 'an unknown one');
}

/** Bytes of all the given tensors. */
export function sumBytes(tensors: Iterable<TensorInfo>): number {
  let sum = 0;
  for (const { bytes } of tensors) sum += bytes;
  return sum;
}

async function readConfig(source: FileSource): Promise<{ config: ModelConfig; vision: boolean }> {
  const text = await readText(source, CONFIG_FILE);
  if (text === undefined) throw missing(CONFIG_FILE, source);
  const json = parseStrictJson(text, (expected, found) => {
    throw new ConfigError('config', expected, found, CONFIG_FILE);
  });
  return { config: parseConfig(json, CONFIG_FILE), vision: hasVisionTower(json) };
}

async function readIndex(source: FileSource): Promise<ReadonlyMap<string, string> | undefined> {
  const text = await readText(source, INDEX_FILE);
  return text === undefined ? undefined : parseIndex(text, INDEX_FILE);
}

/** Opens every shard into `files` and returns all their tensors, each exactly where the index says. */
async function readShards(
  source: FileSource,
  index: ReadonlyMap<string, string> | undefined,
  files: Map<string, RangeFile>,
): Promise<Map<string, TensorInfo>> {
  const tensors = new Map<string, TensorInfo>();
  for (const shard of index === undefined ? [SINGLE_FILE] : new Set(index.values())) {
    const file = await source.open(shard);
    if (file === undefined) throw missing(shard, source, index);
    files.set(shard, file);
    for (const tensor of (await readHeader(file)).tensors) {
      const other = tensors.get(tensor.name);
      if (other !== undefined) {
        throw new WeightError(shard, tensor.name, 'a tensor in one shard', `it in ${other.file} too`);
      }
      if (index !== undefined && index.get(tensor.name) !== shard) {
        throw new WeightError(
          shard,
          tensor.name,
          `what ${INDEX_FILE} lists`,
          'a tensor that it does not list here',
        );
      }
      tensors.set(tensor.name, tensor);
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

/** The tensors that the configuration asks for, checked; `lister` is the file that should have listed them. */
function selectTensors(
  config: ModelConfig,
  found: ReadonlyMap<string, TensorInfo>,
  vision: boolean,
  lister: string,
): Map<string, TensorInfo> {
  const selected = new Map<string, TensorInfo>();
  const expected = expectedTensors(config);
  for (const { name, shape } of expected) {
    const tensor = found.get(name);
    if (tensor === undefined) {
      const others = expected.filter((spec) => !found.has(spec.name)).length - 1;
      throw new WeightError(
        lister,
        name,
        `shape ${show(shape)}`,
        others === 0 ? 'no such tensor' : `no such tensor (nor ${others} others)`,
      );
    }
    checkTensor(tensor, shape);
    selected.set(name, tensor);
  }
  for (const { name, file, shape } of found.values()) {
    if (selected.has(name) || (vision && isVisionTensor(name)) || isIgnoredTensor(name)) continue;
    throw new WeightError(
      file,
      name,
      'only tensors that the configuration asks for',
      `one more, ${show(shape)}`,
    );
  }
  return selected;
}

function checkTensor(tensor: TensorInfo, shape: readonly number[]): void {
  const { name, file, dtype } = tensor;
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
    throw new WeightError(file, name, `shape ${show(shape)}`, show(tensor.shape));
  }
  if (formatOf(dtype) === undefined) {
    throw new WeightError(file, name, 'dtype F32, F16 or BF16', `${dtype}, which is not supported`);
  }
}
