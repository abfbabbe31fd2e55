/** Runs one kernel once over fresh buffers: for tests, the self-test and benchmarks of single kernels. */
import { KernelError } from '../errors.ts';
import { type AnyKernel, type BindingSpec, bindingBytes, type Variant } from '../kernels/kernel.ts';
import type { Gpu } from './device.ts';
import { GpuMemory } from './memory.ts';
import { type PipelineCache, uniformBytes } from './pipelines.ts';
import { mapBuffer } from './upload.ts';

/**
 * Uploads `contents` (bytes by binding name, of exactly the declared size), dispatches the kernel once and returns the
 * bytes of every binding that it may write.
 *
 * @throws KernelError when a binding is missing or has the wrong size; DeviceError for what the device reports.
 */
export async function runKernel<P>(
  gpu: Gpu,
  pipelines: PipelineCache,
  kernel: AnyKernel,
  p: P,
  variant: Variant,
  contents: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  kernel.check(p);
  const { device } = gpu;
  const memory = new GpuMemory(device);
  try {
    const compiled = await pipelines.get(kernel, p, variant);
    const specs: Readonly<Record<string, BindingSpec>> = kernel.bindings(p);
    const buffers = new Map<string, GPUBuffer>();
    for (const binding of compiled.wgsl.bindings) {
      const uniform = binding.access === 'uniform';
      const bytes = uniform
        ? uniformBytes(kernel, compiled.wgsl, kernel.uniforms(p))
        : contents[binding.name];
      const spec = specs[binding.name];
      if (bytes === undefined || (!uniform && (spec === undefined || bytes.length !== bindingBytes(spec)))) {
        const want = spec === undefined ? 'a declared binding' : `${bindingBytes(spec)} bytes`;
        throw new KernelError(
          kernel.name,
          `binding ${binding.name}: expected ${want}, got ${bytes?.length ?? 'nothing'}`,
        );
      }
      const usage = (uniform ? GPUBufferUsage.UNIFORM : GPUBufferUsage.STORAGE) | GPUBufferUsage.COPY_DST;
      const buffer = memory.create(
        binding.name,
        bytes.length,
        usage | GPUBufferUsage.COPY_SRC,
        'activations',
      );
      device.queue.writeBuffer(buffer, 0, padded(bytes));
      buffers.set(binding.name, buffer);
    }
    const group = device.createBindGroup({
      layout: compiled.layout,
      entries: compiled.wgsl.bindings.map((b) => ({
        binding: b.index,
        resource: { buffer: buffers.get(b.name) as GPUBuffer },
      })),
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(compiled.pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...kernel.workgroups(p, variant.team(gpu.caps)));
    pass.end();
    const outputs = Object.entries(specs).filter(([, spec]) => spec.use !== 'in');
    const staging = outputs.map(([name, spec]) => {
      const buffer = buffers.get(name) as GPUBuffer;
      const copy = memory.create(
        name,
        bindingBytes(spec),
        GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
        'staging',
      );
      encoder.copyBufferToBuffer(buffer, 0, copy, 0, Math.min(copy.size, buffer.size));
      return { name, spec, copy };
    });
    device.queue.submit([encoder.finish()]);
    const results: Record<string, Uint8Array<ArrayBuffer>> = {};
    for (const { name, spec, copy } of staging) {
      await mapBuffer(gpu, copy, GPUMapMode.READ);
      results[name] = new Uint8Array(copy.getMappedRange().slice(0, bindingBytes(spec)));
      copy.unmap();
    }
    gpu.check();
    return results;
  } finally {
    memory.destroyAll();
  }
}

function padded(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (bytes.length % 4 === 0) return bytes;
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  whole.set(bytes);
  return whole;
}
