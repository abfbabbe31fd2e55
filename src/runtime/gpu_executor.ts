/** Runs plans on the GPU: one compute pass per step, one submit for one or some, bind groups made once per plan. */
import { DeviceError } from '../errors.ts';
import type { AnyKernel, Capabilities } from '../kernels/kernel.ts';
import type { KernelCall, Plan, Slot } from '../model/plan.ts';
import type { Gpu } from './device.ts';
import type { Executor, PreparedPlan, ReadRequest, Upload } from './executor.ts';
import { fillBuffer } from './fill.ts';
import { GpuMemory } from './memory.ts';
import { patiently } from './patience.ts';
import { type CompiledKernel, PipelineCache, uniformBytes } from './pipelines.ts';
import { mapBuffer, StagedUpload } from './upload.ts';

/** Uniform buffer offsets must be multiples of this on every adapter. */
const UNIFORM_ALIGN = 256;

interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

/** Where a run leaves its GPU times. */
export interface RunTimestamps {
  readonly querySet: GPUQuerySet;
  /** First of the queries: two for every step of the run, or two for every call. */
  readonly first: number;
  /** Times every call, each in a pass of its own, which makes the whole slower. */
  readonly perCall: boolean;
}

interface GpuPlan extends PreparedPlan {
  readonly compiled: readonly CompiledKernel[];
  readonly uniforms: GPUBuffer;
  /** State of the slots when bind groups were made. */
  generation: number;
  dispatches: readonly Dispatch[];
}

export class GpuExecutor implements Executor {
  readonly kind = 'gpu';
  readonly name: string;
  readonly caps: Capabilities;
  readonly depth = 4;
  readonly pipelines: PipelineCache;
  readonly gpu: Gpu;
  readonly #memory: GpuMemory;
  readonly #slots = new Map<string, GPUBuffer>();
  readonly #staging = new Map<number, GPUBuffer[]>();
  /** Grows when a buffer is replaced, which makes bind groups stale. */
  #generation = 0;

  constructor(gpu: Gpu) {
    this.gpu = gpu;
    this.name = gpu.name;
    this.caps = gpu.caps;
    this.#memory = new GpuMemory(gpu.device);
    this.pipelines = new PipelineCache(gpu.device);
  }

  ensure(slots: Iterable<Slot>): void {
    for (const slot of slots) {
      const old = this.#slots.get(slot.name);
      if (old !== undefined && old.size >= slot.bytes) continue;
      if (old !== undefined) this.#memory.destroy(old);
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
      this.#slots.set(slot.name, this.#memory.create(slot.name, slot.bytes, usage, slot.purpose));
      this.#generation++;
    }
  }

  write(slot: string, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.gpu.device.queue.writeBuffer(this.#buffer(slot), offset, bytes);
  }

  upload(): Upload {
    return new StagedUpload(this.gpu, this.#memory, (slot) => this.#buffer(slot));
  }

  async prepare(plan: Plan): Promise<PreparedPlan> {
    this.gpu.check();
    this.ensure(plan.slots.values());
    const compiled = await Promise.all(
      plan.calls.map((c) => this.pipelines.get(c.kernel, c.params, c.variant)),
    );
    const data = new Uint8Array(plan.calls.length * UNIFORM_ALIGN);
    plan.calls.forEach((call, i) => {
      const { kernel, params } = call;
      data.set(uniformBytes(kernel, compiled[i].wgsl, kernel.uniforms(params)), i * UNIFORM_ALIGN);
    });
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const uniforms = this.#memory.create('params', data.length, usage, 'uniforms');
    this.gpu.device.queue.writeBuffer(uniforms, 0, data);
    const prepared: GpuPlan = { plan, compiled, uniforms, generation: -1, dispatches: [] };
    return prepared;
  }

  /** Repeats `pattern` (a multiple of 4 bytes) through a slot; takes effect before any later run. */
  fill(slot: string, pattern: Uint8Array<ArrayBuffer>): void {
    fillBuffer(this.gpu.device, this.#buffer(slot), pattern);
  }

  async run(
    prepared: PreparedPlan,
    read: readonly ReadRequest[],
    timestamps?: RunTimestamps,
  ): Promise<Uint8Array<ArrayBuffer>[]> {
    const [results] = await this.runAll([prepared], read, timestamps);
    return results;
  }

  async runAll(
    steps: readonly PreparedPlan[],
    read: readonly ReadRequest[],
    timestamps?: RunTimestamps,
  ): Promise<Uint8Array<ArrayBuffer>[][]> {
    this.gpu.check();
    const { device } = this.gpu;
    const encoder = device.createCommandEncoder();
    // What is read after every step lies one after the other.
    const copies = read.map((request) => {
      const bytes = Math.ceil(request.bytes / 4) * 4;
      return { request, bytes, staging: this.#takeStaging(bytes * steps.length) };
    });
    let pass = 0;
    steps.forEach((step, i) => {
      const dispatches = this.#dispatches(step as GpuPlan);
      for (const part of timestamps?.perCall === true ? dispatches.map((d) => [d]) : [dispatches]) {
        encodePass(encoder, part, timestamps, pass++);
      }
      for (const { request, bytes, staging } of copies) {
        encoder.copyBufferToBuffer(this.#buffer(request.slot), 0, staging, i * bytes, bytes);
      }
    });
    device.queue.submit([encoder.finish()]);
    const fetched = await Promise.all(
      copies.map(({ request, bytes, staging }) => this.#fetch(staging, request.bytes, bytes, steps.length)),
    );
    return steps.map((_, i) => fetched.map((parts) => parts[i]));
  }

  release(prepared: PreparedPlan): void {
    this.#memory.destroy((prepared as GpuPlan).uniforms);
  }

  async idle(): Promise<void> {
    const done = this.gpu.device.queue.onSubmittedWorkDone();
    await patiently(this.gpu, Promise.race([done, this.gpu.lost]));
    this.gpu.check();
  }

  bytes(): Readonly<Record<string, number>> {
    return this.#memory.bytes();
  }

  dispose(): void {
    this.#memory.destroyAll();
    this.#slots.clear();
    this.#staging.clear();
    this.gpu.dispose();
  }

  #buffer(slot: string): GPUBuffer {
    const buffer = this.#slots.get(slot);
    if (buffer === undefined) throw new DeviceError(`there is no buffer for slot ${slot}`, { slot });
    return buffer;
  }

  /** Bind groups for the current buffers, made again only after a buffer was replaced. */
  #dispatches(prepared: GpuPlan): readonly Dispatch[] {
    if (prepared.generation !== this.#generation) {
      prepared.dispatches = prepared.plan.calls.map((call, i) => this.#bind(prepared, call, i));
      prepared.generation = this.#generation;
    }
    return prepared.dispatches;
  }

  #bind(prepared: GpuPlan, call: KernelCall, index: number): Dispatch {
    const { pipeline, layout, wgsl } = prepared.compiled[index];
    const kernel: AnyKernel = call.kernel;
    const group = this.gpu.device.createBindGroup({
      label: call.label,
      layout,
      entries: wgsl.bindings.map((binding) => ({
        binding: binding.index,
        resource:
          binding.access === 'uniform'
            ? {
                buffer: prepared.uniforms,
                offset: index * UNIFORM_ALIGN,
                size: Math.ceil(wgsl.params.length / 4) * 16,
              }
            : { buffer: this.#buffer(call.slots[binding.name]) },
      })),
    });
    return { pipeline, group, workgroups: kernel.workgroups(call.params, call.variant.team(this.caps)) };
  }

  /** A free readback buffer of this size, or a new one; #fetch gives it back. */
  #takeStaging(bytes: number): GPUBuffer {
    const pool = this.#staging.get(bytes) ?? [];
    this.#staging.set(bytes, pool);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    return pool.pop() ?? this.#memory.create('readback', bytes, usage, 'staging');
  }

  /** `count` parts of `bytes` bytes, `stride` bytes apart, which is a multiple of 4. */
  async #fetch(
    staging: GPUBuffer,
    bytes: number,
    stride: number,
    count: number,
  ): Promise<Uint8Array<ArrayBuffer>[]> {
    await mapBuffer(this.gpu, staging, GPUMapMode.READ);
    const size = stride * count;
    const mapped = staging.getMappedRange(0, size);
    const parts = Array.from(
      { length: count },
      (_, i) => new Uint8Array(mapped.slice(i * stride, i * stride + bytes)),
    );
    staging.unmap();
    this.#staging.get(size)?.push(staging);
    this.gpu.check();
    return parts;
  }
}

/** Encodes one compute pass; `index` counts the passes of a run. */
function encodePass(
  encoder: GPUCommandEncoder,
  dispatches: readonly Dispatch[],
  timestamps: RunTimestamps | undefined,
  index: number,
): void {
  const begin = (timestamps?.first ?? 0) + 2 * index;
  const pass = encoder.beginComputePass(
    timestamps === undefined
      ? {}
      : {
          timestampWrites: {
            querySet: timestamps.querySet,
            beginningOfPassWriteIndex: begin,
            endOfPassWriteIndex: begin + 1,
          },
        },
  );
  let pipeline: GPUComputePipeline | undefined;
  for (const d of dispatches) {
    if (d.pipeline !== pipeline) pass.setPipeline(d.pipeline);
    pipeline = d.pipeline;
    pass.setBindGroup(0, d.group);
    // Not spread: an array's iterator costs the host some of the time that small models wait for.
    pass.dispatchWorkgroups(d.workgroups[0], d.workgroups[1], d.workgroups[2]);
  }
  pass.end();
}
