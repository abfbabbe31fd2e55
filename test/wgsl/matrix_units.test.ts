/** Texts for matrix units are valid WGSL, also where no adapter has them: Dawn's null device knows every feature. */

import { expect, it } from 'vitest';
import { create, globals } from 'webgpu';
import { KERNELS } from '../../src/kernels/index.ts';
import { kernelWgsl, MATRIX_UNITS } from '../../src/kernels/kernel.ts';

/** Kept, because collecting it while a device lives ends the process. */
const instances: GPU[] = [];

async function nullDevice(): Promise<GPUDevice> {
  Object.assign(globalThis, globals);
  const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  instances.push(gpu);
  const adapter = await gpu.requestAdapter();
  if (adapter === null) throw new Error('Dawn has no null adapter');
  const features = ['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix'];
  return adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[] });
}

it('compile, for every shape', async () => {
  const device = await nullDevice();
  const texts = new Map<string, string>();
  for (const kernel of KERNELS.filter(({ variants }) => variants.includes(MATRIX_UNITS))) {
    for (const { name, params } of [...kernel.shapes.test, ...kernel.shapes.bench]) {
      texts.set(kernelWgsl(kernel, params, MATRIX_UNITS).text, `${kernel.name}: ${name}`);
    }
  }
  expect(texts.size).toBeGreaterThan(50);
  for (const [code, shape] of texts) {
    device.pushErrorScope('validation');
    const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
    expect(await device.popErrorScope(), shape).toBeNull();
    expect(
      messages.filter(({ type }) => type === 'error'),
      shape,
    ).toEqual([]);
  }
  const broken = [...texts.keys()][0].replace(
    'subgroupMatrixLoad<Left, row_major>',
    'subgroupMatrixLoad<Left>',
  );
  device.pushErrorScope('validation');
  device.createShaderModule({ code: broken });
  expect(await device.popErrorScope()).not.toBeNull();
  device.destroy();
});
