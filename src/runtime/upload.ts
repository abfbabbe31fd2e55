/** Copies weights to the device through staging buffers that are used again. */
import { DeviceError } from '../errors.ts';
import type { Gpu } from './device.ts';
import type { Room, Upload } from './executor.ts';
import { awaitedLater } from './later.ts';
import type { GpuMemory } from './memory.ts';
import { patiently } from './patience.ts';

/** Most staging buffers at a time. */
const BUFFERS = 4;

/** Smallest staging buffer in bytes. */
const LEAST_BYTES = 64 * 1024;

/**
 * Staging buffers that are mapped again once the device has copied them. For GPUs with memory of their own Dawn's
 * `writeBuffer` makes a fresh one for every large piece, and clears it before the copy.
 *
 * Rooms may lie in memory that is slow to read: write them only, each byte once, in runs of neighbours.
 */
export class StagedUpload implements Upload {
  readonly #gpu: Gpu;
  readonly #memory: GpuMemory;
  readonly #buffer: (slot: string) => GPUBuffer;
  readonly #all = new Set<GPUBuffer>();
  readonly #free: GPUBuffer[] = [];
  /** Buffers that the device copies from; each resolves when its buffer is free. */
  readonly #underWay = new Set<Promise<void>>();

  constructor(gpu: Gpu, memory: GpuMemory, buffer: (slot: string) => GPUBuffer) {
    this.#gpu = gpu;
    this.#memory = memory;
    this.#buffer = buffer;
  }

  async room(slot: string, offset: number, bytes: number): Promise<Room> {
    const target = this.#buffer(slot);
    const staging = await this.#take(bytes);
    this.#gpu.check();
    return {
      bytes: new Uint8Array(staging.getMappedRange(0, bytes)),
      send: () => this.#send(staging, target, offset, bytes),
    };
  }

  async arrived(): Promise<void> {
    await Promise.all(this.#underWay);
    this.#gpu.check();
  }

  dispose(): void {
    for (const staging of this.#all) this.#memory.destroy(staging);
    this.#all.clear();
    this.#free.length = 0;
  }

  #send(staging: GPUBuffer, target: GPUBuffer, offset: number, bytes: number): void {
    const { device } = this.#gpu;
    staging.unmap();
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(staging, 0, target, offset, bytes);
    device.queue.submit([encoder.finish()]);
    const copied = mapBuffer(this.#gpu, staging, GPUMapMode.WRITE).then(() => {
      this.#underWay.delete(copied);
      this.#free.push(staging);
    });
    this.#underWay.add(copied);
    // Whoever waits for a buffer learns of it.
    awaitedLater(copied);
  }

  /** A mapped buffer of at least `bytes` bytes. */
  async #take(bytes: number): Promise<GPUBuffer> {
    for (;;) {
      const found = this.#free.findIndex(({ size }) => size >= bytes);
      if (found >= 0) return this.#free.splice(found, 1)[0];
      const small = this.#all.size >= BUFFERS ? this.#free.pop() : undefined;
      if (small !== undefined) {
        this.#all.delete(small);
        this.#memory.destroy(small);
      }
      if (this.#all.size < BUFFERS || this.#underWay.size === 0) return this.#create(bytes);
      await Promise.race(this.#underWay);
    }
  }

  #create(bytes: number): GPUBuffer {
    const size = Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
    const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
    const staging = this.#memory.create('upload', size, usage, 'staging', true);
    this.#all.add(staging);
    return staging;
  }
}

/**
 * Maps a buffer once the device is done with it.
 *
 * @throws DeviceLostError when the device is lost meanwhile; DeviceError for what it reports, or when mapping fails otherwise.
 */
export async function mapBuffer(gpu: Gpu, buffer: GPUBuffer, mode: GPUMapModeFlags): Promise<void> {
  try {
    await patiently(gpu, buffer.mapAsync(mode));
  } catch (cause) {
    // Losing the device aborts the mapping; the reason arrives on its own promise.
    const lost = await Promise.race([gpu.lost, new Promise((resolve) => setTimeout(resolve, 200))]);
    if (lost instanceof Error) throw lost;
    gpu.check();
    throw new DeviceError(`mapping buffer ${buffer.label} failed`, { label: buffer.label }, { cause });
  }
}
