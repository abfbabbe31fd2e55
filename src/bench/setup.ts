/** Buffers, contents and bind groups of one kernel call that is to be timed. */
import { DeviceError } from '../errors.ts';
import { type AnyKernel, bindingBytes, type Capabilities, type Variant } from '../kernels/kernel.ts';
import type { Gpu } from '../runtime/device.ts';
import { fillBuffer } from '../runtime/fill.ts';
import { GpuMemory } from '../runtime/memory.ts';
import { type CompiledKernel, type PipelineCache, uniformBytes } from '../runtime/pipelines.ts';
import { mapBuffer } from '../runtime/upload.ts';
import { benchContents, type Contents, isStreamed, type Spread } from './contents.ts';

/** Streamed bytes over which copies take turns: beyond what caches hold. */
const COLD_BYTES = 400e6;

/** Most copies; enough with small matrices, whose bytes do not matter. */
export const MAX_COPIES = 256;

/** Facts of an error that says that buffers could not be made; no fault of a kernel. */
export const OUT_OF_MEMORY = { outOfMemory: true } as const;

/** Why a call cannot run on an adapter, or undefined when it can. */
export function obstacle<P>(
  kernel: AnyKernel,
  p: P,
  variant: Variant,
  caps: Capabilities,
): string | undefined {
  const specs = Object.values(kernel.bindings(p));
  if (specs.length > caps.maxStorageBuffers) {
    return `binds ${specs.length} buffers, the adapter allows ${caps.maxStorageBuffers}`;
  }
  const largest = Math.max(...specs.map(bindingBytes));
  if (largest > caps.maxBindingBytes) {
    return `a binding needs ${largest} bytes, the adapter allows ${caps.maxBindingBytes}`;
  }
  const most = Math.max(...kernel.workgroups(p, variant.team(caps)));
  return most > caps.maxWorkgroups
    ? `needs ${most} workgroups, the adapter allows ${caps.maxWorkgroups}`
    : undefined;
}

/** One call over copies of its weights and caches, ready to be dispatched. */
export class KernelSetup {
  readonly contents: Readonly<Record<string, Contents>>;
  /** Copies of what is streamed. */
  readonly copies: number;
  readonly #gpu: Gpu;
  readonly #memory: GpuMemory;
  readonly #compiled: CompiledKernel;
  readonly #workgroups: readonly [number, number, number];
  readonly #outputs = new Map<string, GPUBuffer>();
  readonly #groups: GPUBindGroup[] = [];
  #turn = 0;

  private constructor(
    gpu: Gpu,
    compiled: CompiledKernel,
    contents: Readonly<Record<string, Contents>>,
    workgroups: readonly [number, number, number],
    footprint: number,
  ) {
    this.#gpu = gpu;
    this.#memory = new GpuMemory(gpu.device);
    this.#compiled = compiled;
    this.#workgroups = workgroups;
    this.contents = contents;
    const streamed = Object.entries(contents).reduce(
      (sum, [name, { spec }]) => sum + (isStreamed(name, spec) ? bindingBytes(spec) : 0),
      0,
    );
    this.copies = streamed === 0 ? 1 : Math.min(MAX_COPIES, Math.max(2, Math.ceil(footprint / streamed)));
  }

  /**
   * Compiles, allocates and fills. `footprint`: bytes that the copies of what is streamed should have together.
   *
   * @throws KernelError when the kernel does not compile; DeviceError when there is not enough memory.
   */
  static async create<P>(
    gpu: Gpu,
    pipelines: PipelineCache,
    kernel: AnyKernel,
    p: P,
    variant: Variant,
    spread: Spread = 'even',
    footprint: number = COLD_BYTES,
  ): Promise<KernelSetup> {
    kernel.check(p);
    const compiled = await pipelines.get(kernel, p, variant);
    const workgroups = kernel.workgroups(p, variant.team(gpu.caps));
    const setup = new KernelSetup(gpu, compiled, benchContents(kernel, p, 1, spread), workgroups, footprint);
    gpu.device.pushErrorScope('out-of-memory');
    try {
      setup.#bind(uniformBytes(kernel, compiled.wgsl, kernel.uniforms(p)));
    } catch (error) {
      await gpu.device.popErrorScope();
      setup.dispose();
      throw error;
    }
    const error = await gpu.device.popErrorScope();
    if (error !== null) {
      setup.dispose();
      throw new DeviceError(
        `not enough memory for ${setup.copies} copies: ${error.message.split('\n')[0]}`,
        OUT_OF_MEMORY,
      );
    }
    return setup;
  }

  /** Encodes dispatches, each with the next copy. */
  encode(pass: GPUComputePassEncoder, dispatches: number): void {
    pass.setPipeline(this.#compiled.pipeline);
    for (let i = 0; i < dispatches; i++) {
      pass.setBindGroup(0, this.#groups[this.#turn++ % this.#groups.length]);
      pass.dispatchWorkgroups(...this.#workgroups);
    }
  }

  /**
   * The first `bytes` bytes of a binding that the kernel writes.
   *
   * @throws what the device reports.
   */
  async read(name: string, bytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = this.#outputs.get(name);
    if (buffer === undefined) throw new DeviceError(`binding ${name} is not written`);
    const size = Math.min(buffer.size, Math.ceil(bytes / 4) * 4);
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
    const staging = this.#memory.create('readback', size, usage, 'staging');
    const encoder = this.#gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
    this.#gpu.device.queue.submit([encoder.finish()]);
    await mapBuffer(this.#gpu, staging, GPUMapMode.READ);
    const data = new Uint8Array(staging.getMappedRange().slice(0, bytes));
    this.#memory.destroy(staging);
    this.#gpu.check();
    return data;
  }

  /** Frees every buffer. */
  dispose(): void {
    this.#memory.destroyAll();
  }

  #bind(uniforms: Uint8Array<ArrayBuffer>): void {
    const shared = new Map<string, GPUBuffer>();
    const { wgsl, layout } = this.#compiled;
    const make = (name: string, bytes: number, unit: Uint8Array<ArrayBuffer>, usage: number): GPUBuffer => {
      const all = usage | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
      const buffer = this.#memory.create(name, bytes, all, 'activations');
      if (unit.length > 0) fillBuffer(this.#gpu.device, buffer, unit);
      return buffer;
    };
    const bufferOf = (name: string): GPUBuffer => {
      if (!(name in this.contents)) return make(name, uniforms.length, uniforms, GPUBufferUsage.UNIFORM);
      const { spec, unit } = this.contents[name];
      return make(name, bindingBytes(spec), padded(unit), GPUBufferUsage.STORAGE);
    };
    for (let copy = 0; copy < this.copies; copy++) {
      const entries = wgsl.bindings.map(({ index, name }) => {
        const contents = this.contents[name];
        const streamed = contents !== undefined && isStreamed(name, contents.spec);
        const buffer = (streamed ? undefined : shared.get(name)) ?? bufferOf(name);
        if (!streamed) shared.set(name, buffer);
        if (copy === 0 && contents !== undefined && contents.spec.use !== 'in') {
          this.#outputs.set(name, buffer);
        }
        return { binding: index, resource: { buffer } };
      });
      this.#groups.push(this.#gpu.device.createBindGroup({ layout, entries }));
    }
  }
}

function padded(unit: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (unit.length % 4 === 0) return unit;
  const whole = new Uint8Array(Math.ceil(unit.length / 4) * 4);
  whole.set(unit);
  return whole;
}
