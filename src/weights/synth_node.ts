/** Writes a checkpoint to a directory in the Hugging Face layout. Node only: import it dynamically. */
import { mkdir, readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { configToJson } from '../config/index.ts';
import { WeightError } from '../errors.ts';
import { byteTokenizer, MIN_BYTE_VOCAB } from './byte_tokenizer.ts';
import type { Checkpoint } from './checkpoint.ts';
import { INDEX_FILE } from './index_file.ts';
import { dtypeOf, isPlain } from './stored_blocks.ts';
import type { CheckpointWeight } from './tensor_data.ts';
import { writeSafetensors, writeWhole } from './writer_node.ts';

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
  { onProgress, shardBytes = 4 * 2 ** 30, force = false }: WriteCheckpointOptions = {},
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

async function checkSpace(bytes: number, dir: string): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = bavail * bsize;
  if (free < bytes) throw new WeightError(dir, undefined, `${bytes} bytes of free space`, `${free}`);
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
  const shards = splitShards(checkpoint.weights.values(), shardBytes);
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const file = shardName(i, shards.length);
    const tensors = shard.map((weight) => {
      const { name, shape, format, file } = weight;
      if (!isPlain(format)) throw new WeightError(file, name, 'f32, f16 or bf16', format);
      return { name, shape, dtype: dtypeOf(format), pieces: () => pieces(weight) };
    });
    await writeSafetensors(join(dir, file), tensors, { format: 'pt' });
    for (const { name } of shard) weightMap[name] = file;
  }
  if (shards.length > 1) {
    await writeJson(join(dir, INDEX_FILE), {
      metadata: { total_size: checkpoint.bytes },
      weight_map: weightMap,
    });
  }
}

/** Cuts tensors, in their order, into shards of at most `shardBytes`. */
export function splitShards<T extends { readonly bytes: number }>(
  tensors: Iterable<T>,
  shardBytes: number,
): T[][] {
  const shards: T[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    if (shards.length === 0 || tensor.bytes > room) {
      shards.push([]);
      room = shardBytes;
    }
    shards[shards.length - 1].push(tensor);
    room -= tensor.bytes;
  }
  return shards;
}

/** File name of a shard. */
export function shardName(index: number, count: number): string {
  if (count === 1) return 'model.safetensors';
  return `model-${String(index + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.safetensors`;
}

async function writeTokenizer({ config }: Checkpoint, dir: string): Promise<void> {
  if (config.vocab_size < MIN_BYTE_VOCAB) return;
  const files = byteTokenizer(config.vocab_size, config.eos_token_ids[0]);
  await writeJson(join(dir, 'tokenizer.json'), files.tokenizer);
  await writeJson(join(dir, 'tokenizer_config.json'), files.config);
}

function writeJson(path: string, json: unknown): Promise<void> {
  return writeWhole(path, async (handle) => {
    await handle.writeFile(`${JSON.stringify(json, undefined, 2)}\n`);
  });
}
