/** GPU buffers with an account of their bytes by purpose; what is not destroyed shows up in the account. */
import { DeviceError } from '../errors.ts';

/** What a buffer is for. */
export type Purpose = 'weights' | 'cache' | 'activations' | 'inputs' | 'uniforms' | 'staging';

/** Creates and destroys the buffers of one device. */
export class GpuMemory {
  readonly #device: GPUDevice;
  readonly #live = new Map<GPUBuffer, Purpose>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /**
   * A zeroed buffer of at least `bytes` bytes (a multiple of 4, never empty), mapped if asked for.
   *
   * @throws DeviceError when the device's limit on buffer sizes is exceeded.
   */
  create(label: string, bytes: number, usage: number, purpose: Purpose, mapped = false): GPUBuffer {
    const size = Math.max(16, Math.ceil(bytes / 4) * 4);
    const limit = this.#device.limits.maxBufferSize;
    if (size > limit) {
      throw new DeviceError(`buffer ${label} needs ${size} bytes, the adapter allows ${limit}`, {
        label,
        size,
        limit,
      });
    }
    const buffer = this.#device.createBuffer({ label, size, usage, mappedAtCreation: mapped });
    this.#live.set(buffer, purpose);
    return buffer;
  }

  destroy(buffer: GPUBuffer): void {
    if (this.#live.delete(buffer)) buffer.destroy();
  }

  destroyAll(): void {
    for (const buffer of this.#live.keys()) buffer.destroy();
    this.#live.clear();
  }

  /** Bytes now allocated, by purpose and in total. */
  bytes(): Record<Purpose | 'total', number> {
    const sums = { weights: 0, cache: 0, activations: 0, inputs: 0, uniforms: 0, staging: 0, total: 0 };
    for (const [buffer, purpose] of this.#live) {
      sums[purpose] += buffer.size;
      sums.total += buffer.size;
    }
    return sums;
  }
}
