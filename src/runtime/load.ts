/** Loads a checkpoint's weights into an executor's slots, a bounded piece at a time. */

import { ropeFrequencies } from '../kernels/rope_turns.ts';
import type { Slot } from '../model/plan.ts';
import { FORMAT_BYTES, padRow } from '../tensor.ts';
import type { Checkpoint } from '../weights/checkpoint.ts';
import { shardName, type WeightLayout } from '../weights/layout.ts';
import { packShard, packVector } from '../weights/pack.ts';
import type { Executor } from './executor.ts';

/** Called as loading goes on, with bytes read of the checkpoint so far and in all. */
export type LoadProgress = (read: number, total: number) => void;

/** Bytes written after which the queue is given time to drain, so that pending uploads stay bounded. */
const DRAIN_BYTES = 256 * 1024 * 1024;

/** @throws WeightError for non-finite weights or failing files; DeviceError when buffers cannot be made. */
export async function loadWeights(
  executor: Executor,
  checkpoint: Checkpoint,
  layout: WeightLayout,
  onProgress: LoadProgress = () => {},
): Promise<void> {
  let read = 0;
  let pending = 0;
  for (const matrix of layout.matrices.values()) {
    const rowBytes = padRow(matrix.cols) * FORMAT_BYTES[matrix.format];
    for (const [i, shard] of matrix.shards.entries()) {
      const name = shardName(matrix.name, i);
      const bytes = shard.expertCount * shard.rowCount * rowBytes;
      executor.ensure([{ name, type: matrix.format, bytes, purpose: 'weights' }]);
      for await (const piece of packShard(checkpoint, matrix, shard)) {
        executor.write(name, piece.offset, piece.bytes);
        read += piece.sourceBytes;
        pending += piece.bytes.length;
        onProgress(read, checkpoint.bytes);
        if (pending >= DRAIN_BYTES) {
          await executor.idle();
          pending = 0;
        }
      }
    }
  }
  for (const vector of layout.vectors.values()) {
    const values = await packVector(checkpoint, vector);
    put(executor, { name: vector.name, type: 'f32', bytes: values.byteLength, purpose: 'weights' }, values);
    read += checkpoint.weights.get(vector.tensor)?.bytes ?? 0;
    onProgress(read, checkpoint.bytes);
  }
  const { head_dim, rope_theta } = checkpoint.config;
  const frequencies = ropeFrequencies(rope_theta, head_dim);
  const slot: Slot = {
    name: 'rope_frequencies',
    type: 'u32',
    bytes: frequencies.byteLength,
    purpose: 'inputs',
  };
  put(executor, slot, frequencies);
  await executor.idle();
}

function put(executor: Executor, slot: Slot, values: Float32Array | Uint32Array): void {
  executor.ensure([slot]);
  executor.write(slot.name, 0, new Uint8Array(values.slice().buffer as ArrayBuffer));
}
