/** Loads a checkpoint's weights into an executor's slots, a bounded piece at a time. */

import { layerClasses, type ModelConfig, mtpBlocks } from '../config/index.ts';
import { rowBytes } from '../formats/index.ts';
import { ropeFrequencies } from '../kernels/rope_turns.ts';
import type { Slot } from '../model/plan.ts';
import { frequenciesSlot } from '../model/step.ts';
import type { Checkpoint } from '../weights/checkpoint.ts';
import { shardName, type WeightLayout } from '../weights/layout.ts';
import { packShard, packVector, Scratch } from '../weights/pack.ts';
import type { Executor } from './executor.ts';

/** Called as loading goes on, with bytes read of the checkpoint so far and in all. */
export type LoadProgress = (read: number, total: number) => void;

/** Shards that are read at a time: while one is checked and packed, the others wait for the disk. */
const STREAMS = 4;

/** @throws WeightError for non-finite weights or failing files; DeviceError when buffers cannot be made. */
export async function loadWeights(
  executor: Executor,
  checkpoint: Checkpoint,
  layout: WeightLayout,
  onProgress: LoadProgress = () => {},
): Promise<void> {
  const total = layoutBytes(checkpoint, layout);
  let read = 0;
  const shards = [...layout.matrices.values()].flatMap((matrix) =>
    matrix.shards.map((shard, i) => ({ matrix, shard, name: shardName(matrix.name, i) })),
  );
  const upload = executor.upload();
  try {
    await inStreams(shards, async ({ matrix, shard, name }, scratch, failed) => {
      const bytes = shard.expertCount * shard.rowCount * rowBytes(shard, matrix.cols);
      executor.ensure([{ name, type: shard.format, bytes, purpose: 'weights' }]);
      for await (const piece of packShard(checkpoint, matrix, shard, scratch)) {
        if (failed()) return;
        const room = await upload.room(name, piece.offset, piece.bytes);
        piece.pack(room.bytes);
        room.send();
        read += piece.sourceBytes;
        onProgress(read, total);
      }
    });
    await upload.arrived();
  } finally {
    upload.dispose();
  }
  for (const vector of layout.vectors.values()) {
    const values = await packVector(checkpoint, vector);
    put(executor, { name: vector.name, type: 'f32', bytes: values.byteLength, purpose: 'weights' }, values);
    read += checkpoint.weights.get(vector.tensor)?.bytes ?? 0;
    onProgress(read, total);
  }
  loadFrequencies(executor, checkpoint.config);
  await executor.idle();
}

/** Calls `work` for every item, a few at a time in their order; the first error ends all, when no call is under way. */
async function inStreams<T>(
  items: readonly T[],
  work: (item: T, scratch: Scratch, failed: () => boolean) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const errors: unknown[] = [];
  const failed = () => errors.length > 0;
  const stream = async () => {
    const scratch = new Scratch();
    for (const item of queue) {
      if (failed()) return;
      await work(item, scratch, failed).catch((error: unknown) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: STREAMS }, stream));
  if (failed()) throw errors[0];
}

/** Bytes of the tensors that a layout reads: fewer than the checkpoint's where blocks are left out. */
function layoutBytes(checkpoint: Checkpoint, { matrices, vectors }: WeightLayout): number {
  const parts = [...matrices.values()].flatMap((matrix) => matrix.parts);
  return [...parts, ...vectors.values()].reduce(
    (sum, { tensor }) => sum + (checkpoint.weights.get(tensor)?.bytes ?? 0),
    0,
  );
}

/** Rotary frequencies of every class of layers. */
export function loadFrequencies(executor: Executor, config: ModelConfig): void {
  for (const { rope, suffix } of layerClasses(config, mtpBlocks(config))) {
    const frequencies = ropeFrequencies(rope);
    const slot = { name: frequenciesSlot(suffix), type: 'u32', bytes: frequencies.byteLength } as const;
    put(executor, { ...slot, purpose: 'inputs' }, frequencies);
  }
}

function put(executor: Executor, slot: Slot, values: Float32Array | Uint32Array): void {
  executor.ensure([slot]);
  executor.write(slot.name, 0, new Uint8Array(values.slice().buffer as ArrayBuffer));
}
