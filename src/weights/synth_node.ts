/** Writes a checkpoint to a directory in the Hugging Face layout. Node only: import it dynamically. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { configToJson } from '../config/index.ts';
import { WeightError } from '../errors.ts';
import { isPlain } from '../tensor.ts';
import { byteTokenizer, MIN_BYTE_VOCAB } from './byte_tokenizer.ts';
import type { Checkpoint } from './checkpoint.ts';
import { checkSpace, SHARD_BYTES, writeJson, writeShards } from './folder_node.ts';
import { dtypeOf } from './stored_blocks.ts';
import type { CheckpointWeight } from './tensor_data.ts';

/** How {@link writeCheckpoint} writes. */
export interface WriteCheckpointOptions {
  /** Called as bytes of tensors are written. */
  readonly onProgress?: (written: number, total: number) => void;
  /** Largest shard, in bytes of tensors; a larger tensor gets a shard of its own. Default 4 GiB. */
  readonly shardBytes?: number;
  /** Write into a directory that is not empty, replacing a checkpoint in it. Other files are kept. */
  readonly force?: boolean;
}

/** Read and written at once. */
const PIECE_BYTES = 16 * 2 ** 20;

/** The files that this module writes, and so may replace. */
const OURS =
  /^(config|tokenizer|tokenizer_config|model\.safetensors\.index)\.json$|^model(-\d+-of-\d+)?\.safetensors$/;

/**
 * Streams a checkpoint to `dir`: `config.json`, `model.safetensors` (or shards and their index), and a byte-level
 * tokenizer when the vocabulary has room for one. Memory stays at one piece of 16 MiB. `config.json` comes last, so
 * that an interrupted directory does not pass for a checkpoint; after an error what was written is removed.
 * @throws WeightError when `dir` is not empty (without `force`) or the disk has too little space; file-system errors
 *   pass through
 */
export async function writeCheckpoint(
  checkpoint: Checkpoint,
  dir: string,
  { onProgress, shardBytes = SHARD_BYTES, force = false }: WriteCheckpointOptions = {},
): Promise<void> {
  await mkdir(dir, { recursive: true });
  const present = await readdir(dir);
  if (present.length > 0 && !force) {
    throw new WeightError(
      dir,
      undefined,
      'an empty directory, or force',
      `${present.length} files, e.g. ${present[0]}`,
    );
  }
  // An older index or tokenizer left in place would be taken for the new checkpoint's.
  await removeCheckpoint(dir);
  try {
    await checkSpace(checkpoint.bytes, dir);
    await writeWeights(checkpoint, dir, shardBytes, onProgress);
    await writeTokenizer(checkpoint, dir);
    await writeJson(join(dir, 'config.json'), configToJson(checkpoint.config));
  } catch (error) {
    await removeCheckpoint(dir);
    throw error;
  }
}

async function removeCheckpoint(dir: string): Promise<void> {
  for (const file of await readdir(dir)) if (OURS.test(file)) await rm(join(dir, file));
}

async function writeWeights(
  checkpoint: Checkpoint,
  dir: string,
  shardBytes: number,
  onProgress: WriteCheckpointOptions['onProgress'],
): Promise<void> {
  let written = 0;
  const pieces = async function* (weight: CheckpointWeight) {
    const rowsEach = Math.max(1, Math.floor((PIECE_BYTES * weight.experts * weight.rows) / weight.bytes));
    for (let expert = 0; expert < weight.experts; expert++) {
      for (let row = 0; row < weight.rows; row += rowsEach) {
        const { values } = await weight.readRows(expert, row, Math.min(row + rowsEach, weight.rows));
        yield values;
        written += values.length;
        onProgress?.(written, checkpoint.bytes);
      }
    }
  };
  const units = Array.from(checkpoint.weights.values(), (weight) => {
    const { name, shape, format, file, bytes } = weight;
    if (!isPlain(format)) throw new WeightError(file, name, 'f32, f16 or bf16', format);
    return { tensors: [{ name, shape, dtype: dtypeOf(format), pieces: () => pieces(weight) }], bytes };
  });
  await writeShards(dir, units, shardBytes);
}

async function writeTokenizer({ config }: Checkpoint, dir: string): Promise<void> {
  if (config.vocab_size < MIN_BYTE_VOCAB) return;
  const files = byteTokenizer(config.vocab_size, config.eos_token_ids[0]);
  await writeJson(join(dir, 'tokenizer.json'), files.tokenizer);
  await writeJson(join(dir, 'tokenizer_config.json'), files.config);
}
