/** Which shards of a weight matrix one call binds together. */

import type { RowFormat } from '../formats/index.ts';
import { BUFFER_NAMES } from '../kernels/buffers.ts';
import { type RowRange, shardName, type WeightMatrix } from '../weights/layout.ts';

/** Neighbouring shards as one. */
export interface ShardGroup {
  readonly shard: RowRange;
  readonly row: RowFormat;
  /** Experts of each buffer; absent where there is only one. */
  readonly buffers?: readonly number[];
  /** Slot of every buffer, by its WGSL name. */
  readonly slots: Readonly<Record<string, string>>;
}

/** The shards of `weights`, up to `most` together where they hold whole experts. */
export function shardGroups(weights: WeightMatrix, most: number): ShardGroup[] {
  const { name, rows, shards } = weights;
  const size = shards.every((shard) => shard.rowCount === rows) ? Math.min(most, BUFFER_NAMES.length) : 1;
  const groups: ShardGroup[] = [];
  for (let begin = 0; begin < shards.length; begin += size) {
    const part = shards.slice(begin, begin + size);
    const buffers = part.map((shard) => shard.expertCount);
    const { format, group, ...range } = part[0];
    groups.push({
      shard: { ...range, expertCount: buffers.reduce((a, b) => a + b) },
      row: group === undefined ? { format } : { format, group },
      ...(part.length === 1 ? {} : { buffers }),
      slots: Object.fromEntries(part.map((_, i) => [BUFFER_NAMES[i], shardName(name, begin + i)])),
    });
  }
  return groups;
}
