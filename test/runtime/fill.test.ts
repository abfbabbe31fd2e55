import { describe, expect, it } from 'vitest';
import { fillBuffer } from '../../src/runtime/fill.ts';
import { gpu } from '../harness.ts';

describe.skipIf(gpu === undefined)('fillBuffer', () => {
  it.each([
    [16, 4],
    [16, 12],
    [20, 20],
    [12, 40],
    [40 * 1024 * 1024 + 4, 12],
  ])('repeats a pattern through %i bytes, %i at a time', async (size, period) => {
    if (gpu === undefined) return;
    const { device } = gpu;
    const pattern = Uint8Array.from({ length: period }, (_, i) => i + 1);
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const buffer = device.createBuffer({ size, usage });
    fillBuffer(device, buffer, pattern);
    const staging = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const bytes = new Uint8Array(staging.getMappedRange());
    expect(bytes.findIndex((byte, i) => byte !== pattern[i % period])).toBe(-1);
    buffer.destroy();
    staging.destroy();
    gpu.check();
  });
});
