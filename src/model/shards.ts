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

/** The shards of `weights`, up to `most` (at least one) together where they hold whole experts. */
export function shardGroups(weights: WeightMatrix, most: number): ShardGroup[] {
  const { name, rows, shards } = weights;
  const whole = shards.every((shard) => shard.rowCount === rows);
  const size = whole ? Math.max(1, Math.min(most, BUFFER_NAMES.length)) : 1;
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

/**
 * The buffers of all experts and, as one more expert in a buffer of its own, of the shared one; undefined where a call that
 * binds `most` buffers cannot have them all, or where the shared expert has another format.
 */
export function withShared(
  experts: WeightMatrix,
  shared: WeightMatrix,
  most: number,
): ShardGroup | undefined {
  if (most < 2) return undefined;
  const [group, ...more] = shardGroups(experts, Math.min(most, BUFFER_NAMES.length) - 1);
  const [own] = shardGroups(shared, 1);
  const buffers = group.buffers ?? [group.shard.expertCount];
  const fits =
    more.length === 0 &&
    group.shard.rowCount === experts.rows &&
    buffers.every((count) => count === buffers[0]) && // or else the last has room for one more
    shared.shards.length === 1 &&
    shared.cols === experts.cols &&
    own.row.format === group.row.format &&
    own.row.group === group.row.group;
  if (!fits) return undefined;
  return {
    row: group.row,
    shard: { ...group.shard, expertCount: group.shard.expertCount + 1 },
    buffers: [...buffers, 1],
    slots: { ...group.slots, [BUFFER_NAMES[buffers.length]]: own.slots.w },
  };
}
