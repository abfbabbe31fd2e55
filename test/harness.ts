/** Shared by the GPU tests: one device per process, and the run-against-the-reference loop over a kernel's shapes. */
import { afterAll, describe, expect, it } from 'vitest';
import type { AnyKernel } from '../src/kernels/kernel.ts';
import { compare, expected, makeCase } from '../src/kernels/verify.ts';
import { type Gpu, openDevice } from '../src/runtime/device.ts';
import { PipelineCache } from '../src/runtime/pipelines.ts';
import { runKernel } from '../src/runtime/run_kernel.ts';

let opened: Promise<Gpu | undefined> | undefined;

/** The adapter under test: STEP3_ADAPTER picks one by name. Undefined when the machine has none. */
export async function testGpu(): Promise<Gpu | undefined> {
  opened ??= openDevice({ adapter: process.env.STEP3_ADAPTER }).catch((error: Error) => {
    console.warn(`GPU tests are skipped: ${error.message}`);
    return undefined;
  });
  return opened;
}

/** A GPU, resolved before tests are collected so that skipped ones are seen as skipped. */
export const gpu: Gpu | undefined = await testGpu();

/** Whether a call may bind what it needs. */
export function hasRoom(kernel: AnyKernel, params: unknown): boolean {
  return Object.keys(kernel.bindings(params)).length <= (gpu?.caps.maxStorageBuffers ?? 0);
}

/** Tests every shape of `kernel` on every variant that the adapter can run, or on the first of them. */
export function testKernel(kernel: AnyKernel): void {
  describe(kernel.name, () => {
    const pipelines = gpu === undefined ? undefined : new PipelineCache(gpu.device);
    afterAll(() => gpu?.check());
    const first = kernel.variants.find((variant) => gpu === undefined || variant.available(gpu.caps));
    for (const variant of kernel.variants) {
      for (const [i, shape] of kernel.shapes.test.entries()) {
        const runnable = gpu !== undefined && variant.available(gpu.caps) && hasRoom(kernel, shape.params);
        if (shape.once === true && variant !== first) continue;
        it.skipIf(!runnable)(`${variant.name}: ${shape.name}`, async () => {
          if (gpu === undefined || pipelines === undefined) return;
          const input = makeCase(kernel, shape.params, 1000 + i);
          const got = await runKernel(gpu, pipelines, kernel, shape.params, variant, input.bytes);
          expect(
            compare(kernel, shape.params, variant, input, expected(kernel, shape.params, input), got),
          ).toBeUndefined();
        });
      }
    }
  });
}
