/**
 * Calls that are timed for calibration. Their weights and caches are ranges of one large buffer that is filled once, so
 * that hundreds of shapes cost no allocation, and successive dispatches read ranges that no cache holds.
 */
import { type AnyKernel, type BindingSpec, bindingBytes, type Variant } from '../kernels/kernel.ts';
import { probe_copy } from '../kernels/probe_copy.ts';
import { encodeValues, seededRandom } from '../kernels/verify.ts';
import type { Gpu } from '../runtime/device.ts';
import { fillBuffer, fillRange } from '../runtime/fill.ts';
import { GpuMemory } from '../runtime/memory.ts';
import { type CompiledKernel, type PipelineCache, uniformBytes } from '../runtime/pipelines.ts';
import { benchContents, type Contents, isStreamed } from './contents.ts';

/** Offsets of storage bindings are multiples of this on every adapter. */
const ALIGN = 256;

/** Most ranges that take turns. */
const MAX_RANGES = 2048;

/** Bytes over which ranges are spread: beyond what caches hold. */
const COLD_BYTES = 400e6;

/** The large buffer. */
export class Arena {
  readonly gpu: Gpu;
  readonly buffer: GPUBuffer;

  /** Allocates and fills `bytes`; what the device objects to is reported by `Gpu.check`. */
  constructor(gpu: Gpu, bytes: number) {
    this.gpu = gpu;
    this.buffer = gpu.device.createBuffer({
      label: 'arena',
      size: Math.floor(bytes / ALIGN) * ALIGN,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    });
    const random = seededRandom(1);
    // As bf16 these lie within ±1/64, as f16 within ±2, and as scales of e4m3 within ±1/64: all are finite.
    const values = Float64Array.from({ length: 512 * 1024 }, () => (random() * 2 - 1) / 64);
    fillBuffer(gpu.device, this.buffer, encodeValues('bf16', values));
  }

  get bytes(): number {
    return this.buffer.size;
  }

  dispose(): void {
    this.buffer.destroy();
  }
}

/** The bindings of a call that lie in the arena: weights and caches, and with weights the gains of their norm. */
function farBindings<P>(kernel: AnyKernel, p: P): ReadonlySet<string> {
  const all = Object.entries<BindingSpec>(kernel.bindings(p));
  const far = all.filter((entry) => isStreamed(...entry));
  if (far.length === 0) return new Set();
  return new Set(
    [...far, ...all.filter(([, { weight, use }]) => weight === true && use === 'in')].map(([name]) => name),
  );
}

/** A dispatch that can be encoded. */
interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

/** Where a binding lies. */
interface Place {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** One call, ready to be dispatched. */
export class ProbeCall {
  readonly compiled: CompiledKernel;
  readonly workgroups: readonly [number, number, number];
  /** Bytes that are read before the same are read again. */
  readonly workingSet: number;
  readonly #groups: GPUBindGroup[] = [];
  readonly #memory: GpuMemory;
  #fresh: Dispatch | undefined;
  #turn = 0;

  private constructor(
    compiled: CompiledKernel,
    workgroups: readonly [number, number, number],
    memory: GpuMemory,
    workingSet: number,
  ) {
    this.compiled = compiled;
    this.workgroups = workgroups;
    this.#memory = memory;
    this.workingSet = workingSet;
  }

  /** Bytes of a call's weights and caches. */
  static streamedBytes<P>(kernel: AnyKernel, p: P): number {
    const far = farBindings(kernel, p);
    return Object.entries(kernel.bindings(p))
      .filter(([name]) => far.has(name))
      .reduce((sum, [, spec]) => sum + Math.ceil(bindingBytes(spec) / ALIGN) * ALIGN, 0);
  }

  /**
   * Compiles and binds. `cached`: every dispatch reads the same weights. `touched`: bytes of weights and caches that one
   * dispatch reads, fewer than there are where it chooses experts.
   *
   * @throws KernelError when the kernel does not compile; what the device reports.
   */
  static async create<P>(
    arena: Arena,
    pipelines: PipelineCache,
    kernel: AnyKernel,
    p: P,
    variant: Variant,
    cached: boolean,
    touched: number,
  ): Promise<ProbeCall> {
    const { gpu } = arena;
    kernel.check(p);
    const compiled = await pipelines.get(kernel, p, variant);
    const each = ProbeCall.streamedBytes(kernel, p);
    // Ranges lie as far apart as a dispatch reads: where that is a few experts, the next few are those of the next range.
    const stride = Math.ceil(Math.max(1, Math.min(each, touched)) / ALIGN) * ALIGN;
    const wanted = cached || each === 0 ? 1 : Math.ceil(COLD_BYTES / stride);
    const room = Math.floor((arena.bytes - each) / stride) + 1;
    const ranges = Math.max(1, Math.min(MAX_RANGES, wanted, room));
    const memory = new GpuMemory(gpu.device);
    const call = new ProbeCall(
      compiled,
      kernel.workgroups(p, variant.team(gpu.caps)),
      memory,
      // What is not cached is as cold as it can be made.
      cached ? Math.min(each, touched) : Math.max(stride * ranges, COLD_BYTES),
    );
    const far = farBindings(kernel, p);
    const contents = benchContents(kernel, p, 1, 'even', (name) => !far.has(name));
    const places = new Map(Object.entries(await call.#placeInputs(gpu, pipelines, contents)));
    const specs = kernel.bindings(p);
    const uniforms = uniformBytes(kernel, compiled.wgsl, kernel.uniforms(p));
    for (const { name } of compiled.wgsl.bindings) {
      const own = contents[name];
      const uniform = !(name in specs);
      if (places.has(name) || (own === undefined && !uniform)) continue;
      const bytes = uniform ? uniforms : padded(own.unit);
      const size = uniform ? uniforms.length : bindingBytes(own.spec);
      const usage = uniform ? GPUBufferUsage.UNIFORM : GPUBufferUsage.STORAGE;
      const buffer = memory.create(name, size, usage | GPUBufferUsage.COPY_DST, 'activations');
      if (bytes.length > 0) fillBuffer(gpu.device, buffer, bytes);
      places.set(name, { buffer, offset: 0, size: buffer.size });
    }
    for (let range = 0; range < ranges; range++) {
      let offset = range * stride;
      const entries = compiled.wgsl.bindings.map(({ index, name }) => {
        const place = places.get(name);
        if (place !== undefined) return { binding: index, resource: place };
        const size = bindingBytes(specs[name]);
        const resource = { buffer: arena.buffer, offset, size: Math.ceil(size / 4) * 4 };
        offset += Math.ceil(size / ALIGN) * ALIGN;
        return { binding: index, resource };
      });
      call.#groups.push(gpu.device.createBindGroup({ layout: compiled.layout, entries }));
    }
    return call;
  }

  /** Lays the inputs out one after the other in a buffer, beside a copy that `freshen` writes them from. */
  async #placeInputs(
    gpu: Gpu,
    pipelines: PipelineCache,
    contents: Readonly<Record<string, Contents>>,
  ): Promise<Record<string, Place>> {
    const inputs = Object.entries(contents).filter(([, { spec }]) => spec.use === 'in');
    const sizes = inputs.map(([, { spec }]) => Math.ceil(bindingBytes(spec) / 4) * 4);
    const total = sizes.reduce((sum, size) => sum + Math.ceil(size / ALIGN) * ALIGN, 0);
    if (total === 0) return {};
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    const buffer = this.#memory.create('inputs', total, usage, 'activations');
    const copy = this.#memory.create('copy of the inputs', total, usage, 'activations');
    const places: Record<string, Place> = {};
    let offset = 0;
    inputs.forEach(([name, { unit }], i) => {
      const size = sizes[i];
      for (const to of [buffer, copy]) {
        if (unit.length > 0) fillRange(gpu.device, to, offset, size, padded(unit));
      }
      places[name] = { buffer, offset, size };
      offset += Math.ceil(size / ALIGN) * ALIGN;
    });
    const params = { vectors: total / 16 };
    const { pipeline, layout, wgsl } = await pipelines.get(probe_copy, params, probe_copy.variants[0]);
    const words = uniformBytes(probe_copy, wgsl, probe_copy.uniforms(params));
    const uniform = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const uniforms = this.#memory.create('params', words.length, uniform, 'activations');
    fillBuffer(gpu.device, uniforms, words);
    const by: Record<string, GPUBuffer> = { x: copy, y: buffer };
    const entries = wgsl.bindings.map(({ index, name }) => ({
      binding: index,
      resource: { buffer: by[name] ?? uniforms },
    }));
    const group = gpu.device.createBindGroup({ layout, entries });
    this.#fresh = { pipeline, group, workgroups: probe_copy.workgroups(params, 1) };
    return places;
  }

  /** Writes the inputs anew, as the call before would: from then on they lie where results of other units lie. */
  freshen(pass: GPUComputePassEncoder): void {
    if (this.#fresh === undefined) return;
    pass.setPipeline(this.#fresh.pipeline);
    pass.setBindGroup(0, this.#fresh.group);
    pass.dispatchWorkgroups(...this.#fresh.workgroups);
  }

  /** Encodes dispatches, each over the next range. */
  encode(pass: GPUComputePassEncoder, dispatches: number): void {
    pass.setPipeline(this.compiled.pipeline);
    for (let i = 0; i < dispatches; i++) {
      pass.setBindGroup(0, this.#groups[this.#turn++ % this.#groups.length]);
      pass.dispatchWorkgroups(...this.workgroups);
    }
  }

  /** Frees what belongs to the call alone. */
  dispose(): void {
    this.#memory.destroyAll();
  }
}

function padded(unit: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (unit.length % 4 === 0) return unit;
  const whole = new Uint8Array(Math.ceil(unit.length / 4) * 4);
  whole.set(unit);
  return whole;
}
