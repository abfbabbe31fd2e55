/** Compute pipelines, compiled asynchronously and cached by their final WGSL text. */
import { KernelError } from '../errors.ts';
import type { AnyKernel, Variant } from '../kernels/kernel.ts';
import { kernelWgsl } from '../kernels/kernel.ts';
import type { SpecialisedWgsl } from '../wgsl/specialise.ts';

/** A pipeline with the layout that its bind groups need. */
export interface CompiledKernel {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly wgsl: SpecialisedWgsl;
}

/** Compiles each distinct text once; different texts compile in parallel. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #byText = new Map<string, Promise<CompiledKernel>>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Number of pipelines compiled so far. */
  get size(): number {
    return this.#byText.size;
  }

  /** @throws KernelError naming the kernel, its constants and the WGSL line. */
  get<P>(kernel: AnyKernel, p: P, variant: Variant): Promise<CompiledKernel> {
    const wgsl = kernelWgsl(kernel, p, variant);
    let compiled = this.#byText.get(wgsl.text);
    if (compiled === undefined) {
      compiled = this.#compile(kernel, p, variant, wgsl);
      this.#byText.set(wgsl.text, compiled);
    }
    return compiled;
  }

  async #compile<P>(
    kernel: AnyKernel,
    p: P,
    variant: Variant,
    wgsl: SpecialisedWgsl,
  ): Promise<CompiledKernel> {
    const device = this.#device;
    const label = `${kernel.name} (${variant.name})`;
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label, code: wgsl.text });
    const layout = device.createBindGroupLayout({
      label,
      entries: wgsl.bindings.map((b) => ({
        binding: b.index,
        visibility: 4, // GPUShaderStage.COMPUTE
        buffer: { type: bufferType(b.access) },
      })),
    });
    const pipelineLayout = device.createPipelineLayout({ label, bindGroupLayouts: [layout] });
    const scope = device.popErrorScope();
    try {
      const pipeline = await device.createComputePipelineAsync({
        label,
        layout: pipelineLayout,
        compute: { module, entryPoint: 'main' },
      });
      const error = await scope;
      if (error !== null) throw new Error(error.message);
      return { pipeline, layout, wgsl };
    } catch (cause) {
      await scope;
      const info = await module.getCompilationInfo();
      const first = info.messages.find((m) => m.type === 'error');
      const lines = wgsl.text.split('\n');
      const where =
        first === undefined
          ? (cause instanceof Error ? cause.message : String(cause)).replace(/\s*\n\s*/g, ' | ')
          : `${first.message} at line ${first.lineNum}: ${lines[first.lineNum - 1]?.trim() ?? ''}`;
      const constants = kernel.constants(p, variant);
      throw new KernelError(
        kernel.name,
        `variant ${variant.name} did not compile: ${where}; constants ${JSON.stringify(constants)}`,
        { variant: variant.name, constants, line: first?.lineNum },
        { cause },
      );
    }
  }
}

function bufferType(access: string): GPUBufferBindingType {
  if (access === 'uniform') return 'uniform';
  return access === 'storage, read' ? 'read-only-storage' : 'storage';
}

/** Bytes of `struct Params` for a call's uniforms; empty when the kernel has none. */
export function uniformBytes(
  kernel: AnyKernel,
  wgsl: SpecialisedWgsl,
  uniforms: Readonly<Record<string, number>>,
): Uint8Array<ArrayBuffer> {
  const data = new DataView(new ArrayBuffer(Math.ceil(wgsl.params.length / 4) * 16));
  wgsl.params.forEach((field, i) => {
    const value = uniforms[field.name];
    if (value === undefined) throw new KernelError(kernel.name, `no value for params.${field.name}`);
    if (field.type === 'f32') data.setFloat32(i * 4, value, true);
    else if (field.type === 'u32') data.setUint32(i * 4, value, true);
    else data.setInt32(i * 4, value, true);
  });
  const extra = Object.keys(uniforms).filter((name) => !wgsl.params.some((field) => field.name === name));
  if (extra.length > 0) throw new KernelError(kernel.name, `unknown params: ${extra.join(', ')}`);
  return new Uint8Array(data.buffer);
}
