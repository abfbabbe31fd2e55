import { describe, expect, it } from 'vitest';
import { DeviceLostError } from '../../src/errors.ts';
import type { Plan } from '../../src/model/plan.ts';
import { CpuExecutor } from '../../src/runtime/cpu_executor.ts';
import { openDevice } from '../../src/runtime/device.ts';
import type { Executor } from '../../src/runtime/executor.ts';
import { GpuExecutor } from '../../src/runtime/gpu_executor.ts';
import { gpu } from '../harness.ts';

const EMPTY: Plan = { calls: [], slots: new Map(), tokens: 1 };
const SLOT = 'matrix#0';

async function contents(executor: Executor, bytes: number): Promise<Buffer> {
  const prepared = await executor.prepare(EMPTY);
  const [read] = await executor.run(prepared, [{ slot: SLOT, bytes }]);
  executor.release(prepared);
  return Buffer.from(read);
}

const executors: [string, () => Promise<Executor>][] = [
  ['interpreter', async () => new CpuExecutor()],
  ...(gpu === undefined
    ? []
    : [['GPU', async () => new GpuExecutor(await openDevice())] as [string, () => Promise<Executor>]]),
];

describe.each(executors)('upload to the %s', (_, make) => {
  it.each([
    ['equal pieces', Array.from({ length: 12 }, () => 100_000)],
    [
      'pieces that grow and shrink',
      [4, 70_000, 12, 300_000, 8, 1_200_000, 300_000, 64, 3_000_000, 16, 20, 4],
    ],
    ['one piece', [4]],
  ])('puts %s where they belong', async (_name, sizes) => {
    const executor = await make();
    const total = sizes.reduce((sum, size) => sum + size, 0);
    executor.ensure([{ name: SLOT, type: 'f32', bytes: total + 8, purpose: 'weights' }]);
    const expected = Buffer.from(Uint8Array.from({ length: total + 8 }, (_item, i) => (i * 31) >> 3)).fill(
      0,
      total,
    );
    const upload = executor.upload();
    let offset = 0;
    for (const size of sizes) {
      const room = await upload.room(SLOT, offset, size);
      expect(room.bytes).toHaveLength(size);
      room.bytes.set(expected.subarray(offset, offset + size));
      room.send();
      offset += size;
    }
    await upload.arrived();
    upload.dispose();
    expect(Buffer.compare(await contents(executor, total + 8), expected)).toBe(0);
    executor.dispose();
  });

  it('refuses a slot that it does not hold', async () => {
    const executor = await make();
    const upload = executor.upload();
    await expect(upload.room('nothing#0', 0, 4)).rejects.toThrow(/slot nothing#0/);
    upload.dispose();
    executor.dispose();
  });
});

describe.skipIf(gpu === undefined)('upload to the GPU', () => {
  it('keeps few staging buffers, however many pieces are sent', async () => {
    const executor = new GpuExecutor(await openDevice());
    executor.ensure([{ name: SLOT, type: 'f32', bytes: 2 ** 20, purpose: 'weights' }]);
    const upload = executor.upload();
    for (let i = 0; i < 40; i++) {
      const room = await upload.room(SLOT, 0, 2 ** 20);
      room.bytes.fill(i);
      room.send();
      expect(executor.bytes().staging).toBeLessThanOrEqual(4 * 2 ** 20);
    }
    await upload.arrived();
    upload.dispose();
    expect(executor.bytes().staging).toBe(0);
    executor.dispose();
  });

  it('fails when the device is lost while pieces are under way', async () => {
    const executor = new GpuExecutor(await openDevice());
    executor.ensure([{ name: SLOT, type: 'f32', bytes: 2 ** 20, purpose: 'weights' }]);
    const upload = executor.upload();
    const room = await upload.room(SLOT, 0, 2 ** 20);
    executor.gpu.device.destroy();
    await executor.gpu.lost;
    room.send();
    await expect(upload.arrived()).rejects.toThrow(DeviceLostError);
    upload.dispose();
    executor.dispose();
  });
});
