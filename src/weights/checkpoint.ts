/** A checkpoint: a configuration and the weights it asks for, each checked before any weight is read. */
import type { ModelConfig } from '../config/index.ts';
import { WeightError } from '../errors.ts';
import { chooseGguf, openGguf } from './checkpoint_gguf.ts';
import { CONFIG_FILE, openSafetensors } from './checkpoint_safetensors.ts';
import { type FileSource, readText } from './source.ts';
import type { StoredWeight } from './stored.ts';
import type { CheckpointWeight } from './tensor_data.ts';

/** An open checkpoint. */
export interface Checkpoint {
  /** For messages: where it came from. */
  readonly name: string;
  readonly config: ModelConfig;
  /** The language model's weights by their Hugging Face names, in the order of a forward pass. */
  readonly weights: ReadonlyMap<string, CheckpointWeight>;
  /** Their bytes in the files. */
  readonly bytes: number;
  /**
   * Text files that stand inside the weight file, by the names that they have in a folder: `tokenizer.json`,
   * `tokenizer_config.json`, `chat_template.jinja`. Empty for checkpoints that are folders.
   */
  readonly texts: ReadonlyMap<string, string>;
  /** The weight of this name. Reading it throws WeightError for NaN, infinities and files that fail. */
  weight(name: string): StoredWeight | undefined;
  /** Closes the files; reading fails afterwards. */
  close(): Promise<void>;
}

/**
 * Opens a checkpoint: a folder with `config.json` and safetensors files, or a GGUF file (the first part of one that is
 * split). Only headers are read. The vision tensors of a `step3_vl` checkpoint are ignored.
 *
 * @param file the GGUF file; without it `config.json` is looked for, then a single GGUF file.
 * @throws ConfigError naming the field of `config.json` or the metadata key
 * @throws WeightError naming the file, the tensor, what was expected and what was found: a missing file, a malformed
 *   header or index, a tensor that is missing, unknown, in two shards, of the wrong shape or dtype, or quantised
 *   otherwise than the configuration says
 */
export async function openCheckpoint(source: FileSource, file?: string): Promise<Checkpoint> {
  if (file !== undefined) return openGguf(source, file);
  const text = await readText(source, CONFIG_FILE);
  if (text !== undefined) return openSafetensors(source, text);
  const gguf = await chooseGguf(source);
  if (gguf !== undefined) return openGguf(source, gguf);
  const kinds = source.list === undefined ? 'this file' : 'this file or one .gguf file';
  throw new WeightError(CONFIG_FILE, undefined, `${kinds} in ${source.name}`, 'no such file');
}
