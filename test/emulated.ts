/** Kernels for matrix units on adapters without them: their text with what these do written out in plain WGSL. */

import { describe, expect, it } from 'vitest';
import type { AnyKernel, Kernel, Variant } from '../src/kernels/kernel.ts';
import { kernelWgsl } from '../src/kernels/kernel.ts';
import { compare, expected, makeCase } from '../src/kernels/verify.ts';
import type { CompiledKernel, PipelineCache } from '../src/runtime/pipelines.ts';
import { runKernel } from '../src/runtime/run_kernel.ts';
import { gpu, hasRoom } from './harness.ts';

/** What is replaced in a text, and by what. */
export type Replacements = readonly (readonly [RegExp, string])[];

/** What no adapter without matrix units knows. */
export const WITHOUT_UNITS: Replacements = [
  [/^enable (subgroups|chromium_experimental_subgroup_matrix);$/gm, ''],
  [/ @diagnostic\(off, \w+(\.\w+)?\)/g, ''],
  [/^alias (Left|Right) = .*;\n/gm, ''],
  [/^ *@builtin\(subgroup_id\) subgroup: u32,\n/m, ''],
];

/** The text with all of them made; each has to be there. */
export function replaced(text: string, replacements: Replacements): string {
  return replacements.reduce((before, [pattern, by]) => {
    const after = before.replace(pattern, by);
    if (after === before) throw new Error(`the text has nothing like ${pattern}`);
    return after;
  }, text);
}

/** Pipelines of emulated texts, for runKernel. */
export function emulatedPipelines(device: GPUDevice, emulate: (text: string) => string): PipelineCache {
  const get = async <P>(kernel: AnyKernel, p: P, variant: Variant): Promise<CompiledKernel> => {
    const wgsl = kernelWgsl(kernel, p, variant);
    const module = device.createShaderModule({ label: kernel.name, code: emulate(wgsl.text) });
    const layout = device.createBindGroupLayout({
      entries: wgsl.bindings.map(({ index, access }) => ({
        binding: index,
        visibility: 4, // GPUShaderStage.COMPUTE
        buffer: {
          type: access === 'uniform' ? access : access === 'storage, read' ? 'read-only-storage' : 'storage',
        },
      })),
    });
    const pipeline = await device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    });
    return { pipeline, layout, wgsl };
  };
  return { get } as unknown as PipelineCache;
}

/** Runs a kernel at its test shapes, as `emulate` writes it, where `memory` bytes of workgroup memory are there. */
export function testEmulated<P>(
  kernel: Kernel<P>,
  emulate: (text: string) => string,
  memory: (p: P) => number,
): void {
  describe.skipIf(gpu?.caps.shaderF16 !== true)(`${kernel.name}, products written out`, () => {
    const [variant] = kernel.variants;
    const pipelines = gpu === undefined ? undefined : emulatedPipelines(gpu.device, emulate);
    const most = gpu?.device.limits.maxComputeWorkgroupStorageSize ?? 0;

    for (const [i, { name, params }] of kernel.shapes.test.entries()) {
      it.skipIf(memory(params) > most || !hasRoom(kernel, params))(name, async () => {
        const input = makeCase(kernel, params, 1000 + i);
        const got = await runKernel(gpu!, pipelines!, kernel, params, variant, input.bytes);
        const want = expected(kernel, params, input);
        expect(compare(kernel, params, variant, input, want, got)).toBeUndefined();
      });
    }
  });
}
