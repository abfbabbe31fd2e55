/** Writes the files of a checkpoint folder. Node only: import it dynamically. */
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { WeightError } from '../errors.ts';
import type { WriteUnit } from './convert_tensors.ts';
import { INDEX_FILE } from './index_file.ts';
import { writeSafetensors, writeWhole } from './writer_node.ts';

/** Largest shard by default, in bytes of tensors. */
export const SHARD_BYTES: number = 4 * 2 ** 30;

/**
 * Writes units of tensors as `model.safetensors`, or as shards of at most `shardBytes` with an index; a larger unit gets
 * a shard of its own.
 *
 * @throws WeightError as writeSafetensors; file-system errors pass through.
 */
export async function writeShards(
  dir: string,
  units: Iterable<WriteUnit>,
  shardBytes: number,
): Promise<void> {
  const shards = splitShards(units, shardBytes);
  const weightMap: Record<string, string> = {};
  let total = 0;
  for (const [i, shard] of shards.entries()) {
    const file = shardName(i, shards.length);
    const tensors = shard.flatMap((unit) => unit.tensors);
    await writeSafetensors(join(dir, file), tensors, { format: 'pt' });
    for (const { name } of tensors) weightMap[name] = file;
    total += shard.reduce((sum, { bytes }) => sum + bytes, 0);
  }
  if (shards.length <= 1) return;
  await writeJson(join(dir, INDEX_FILE), { metadata: { total_size: total }, weight_map: weightMap });
}

/** Throws WeightError unless the disk of `dir` has room for `bytes`. */
export async function checkSpace(bytes: number, dir: string): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = bavail * bsize;
  if (free < bytes) throw new WeightError(dir, undefined, `${bytes} bytes of free space`, `${free}`);
}

/** Cuts units, in their order, into shards of at most `shardBytes`. */
function splitShards(units: Iterable<WriteUnit>, shardBytes: number): WriteUnit[][] {
  const shards: WriteUnit[][] = [];
  let room = 0;
  for (const unit of units) {
    if (shards.length === 0 || unit.bytes > room) {
      shards.push([]);
      room = shardBytes;
    }
    shards[shards.length - 1].push(unit);
    room -= unit.bytes;
  }
  return shards;
}

function shardName(index: number, count: number): string {
  if (count === 1) return 'model.safetensors';
  return `model-${String(index + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.safetensors`;
}

/** Writes indented JSON; the file appears when it is complete. */
export function writeJson(path: string, json: unknown): Promise<void> {
  return writeWhole(path, async (handle) => {
    await handle.writeFile(`${JSON.stringify(json, undefined, 2)}\n`);
  });
}
