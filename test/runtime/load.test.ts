import { mkdtemp, open, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeviceLostError, WeightError } from '../../src/errors.ts';
import { rowBytes } from '../../src/formats/index.ts';
import type { Plan } from '../../src/model/plan.ts';
import { CpuExecutor } from '../../src/runtime/cpu_executor.ts';
import { openDevice } from '../../src/runtime/device.ts';
import type { Executor } from '../../src/runtime/executor.ts';
import { GpuExecutor } from '../../src/runtime/gpu_executor.ts';
import { loadWeights } from '../../src/runtime/load.ts';
import { encodeWeights } from '../../src/tensor.ts';
import { type Checkpoint, openCheckpoint } from '../../src/weights/checkpoint.ts';
import { checkpointFormats, shardName, weightLayout } from '../../src/weights/layout.ts';
import { directorySource } from '../../src/weights/source_node.ts';
import { writeCheckpoint } from '../../src/weights/synth_node.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { gpu } from '../harness.ts';
import { TINY } from '../weights/support.ts';

/** Heads of 10 are padded, 51 columns too; buffers of 100 rows split most matrices. */
const CONFIG = { ...TINY, hidden_size: 51, head_dim: 10, moe_intermediate_size: 37 };
const LIMIT = 100 * 56 * 2;

let dir: string;
let checkpoint: Checkpoint;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'load-'));
  await writeCheckpoint(syntheticCheckpoint(CONFIG, 3, 'bf16'), dir);
  checkpoint = await openCheckpoint(directorySource(dir));
});
afterEach(async () => {
  await checkpoint.close();
  await rm(dir, { recursive: true });
});

const load = (executor: Executor, from = checkpoint) =>
  loadWeights(executor, from, weightLayout(from.config, checkpointFormats(from), LIMIT));

const EMPTY: Plan = { calls: [], slots: new Map(), tokens: 1 };

/** Bytes of every buffer of weights. */
async function contents(executor: Executor): Promise<Map<string, Buffer>> {
  const { matrices } = weightLayout(CONFIG, checkpointFormats(checkpoint), LIMIT);
  const buffers = [...matrices.values()].flatMap(({ name, cols, shards }) =>
    shards.map((shard, i) => ({
      slot: shardName(name, i),
      bytes: shard.expertCount * shard.rowCount * rowBytes(shard, cols),
    })),
  );
  const prepared = await executor.prepare(EMPTY);
  const read = await executor.run(prepared, buffers);
  executor.release(prepared);
  return new Map(buffers.map(({ slot }, i) => [slot, Buffer.from(read[i])]));
}

/** Overwrites element `index` of a tensor in the file. */
async function spoil(tensor: string, index: number, value: number): Promise<void> {
  const file = await open(join(dir, 'model.safetensors'), 'r+');
  const prefix = Buffer.alloc(8);
  await file.read(prefix, 0, 8, 0);
  const length = Number(prefix.readBigUInt64LE());
  const header = Buffer.alloc(length);
  await file.read(header, 0, length, 8);
  const [begin] = JSON.parse(header.toString())[tensor].data_offsets;
  await file.write(encodeWeights('bf16', [value]), 0, 2, 8 + length + begin + index * 2);
  await file.close();
}

describe('loadWeights', () => {
  it.each([
    ['model.layers.1.moe.up_proj.weight', 0, '[0, 0, 0]'],
    ['model.layers.1.moe.up_proj.weight', 8 * 37 * 51 - 1, '[7, 36, 50]'],
    ['model.layers.0.self_attn.o_proj.weight', 51 * 40 - 1, '[50, 39]'],
    ['lm_head.weight', 100 * 51, '[100, 0]'],
    ['lm_head.weight', 100 * 51 - 1, '[99, 50]'],
  ])('names file, tensor and element: %s at %i', async (tensor, index, at) => {
    for (const [value, found] of [
      [Number.NaN, 'NaN'],
      [-Infinity, 'an infinity'],
    ] as const) {
      await spoil(tensor, index, value);
      const message = `model.safetensors: tensor "${tensor}": expected finite weights, found ${found} at ${at}`;
      const loading = load(new CpuExecutor());
      await expect(loading).rejects.toThrow(WeightError);
      await expect(loading).rejects.toThrow(message);
    }
  });

  it('refuses a file that was cut off after it was opened', async () => {
    await truncate(join(dir, 'model.safetensors'), 300_000);
    await expect(load(new CpuExecutor())).rejects.toThrow(
      /model\.safetensors: expected .* the end of the file/,
    );
  });
});

describe.skipIf(gpu === undefined)('loadWeights onto the GPU', () => {
  it('leaves there what the interpreter holds, and no staging memory', async () => {
    const onGpu = new GpuExecutor(await openDevice());
    const onCpu = new CpuExecutor();
    // Twice: into fresh buffers, and over what is there.
    for (let round = 0; round < 2; round++) {
      await load(onGpu);
      expect(onGpu.bytes().staging).toBe(0);
    }
    await load(onCpu);
    const [found, expected] = [await contents(onGpu), await contents(onCpu)];
    expect(expected.size).toBeGreaterThan(40);
    for (const [name, bytes] of expected) expect(found.get(name), name).toEqual(bytes);
    onGpu.dispose();
  });

  it('frees staging memory after an error', async () => {
    const executor = new GpuExecutor(await openDevice());
    await spoil('lm_head.weight', 77, Number.NaN);
    await expect(load(executor)).rejects.toThrow(/lm_head\.weight.*NaN at \[1, 26\]/);
    expect(executor.bytes().staging).toBe(0);
    executor.dispose();
  });

  it('says that the device was lost', async () => {
    const executor = new GpuExecutor(await openDevice());
    executor.gpu.device.destroy();
    await expect(load(executor)).rejects.toThrow(DeviceLostError);
    executor.dispose();
  });
});
