/**
 * Runs plans with the kernels' own references in double precision: the oracle of the tests, and what runs where there
 * is no GPU. Weights stay in their stored format and are decoded row by row.
 */
import { DeviceError } from '../errors.ts';
import { decodeRow, rowBytes } from '../formats/index.ts';
import {
  BASELINE,
  type Capabilities,
  type Matrix,
  type ReferenceIo,
  type Values,
} from '../kernels/kernel.ts';
import type { KernelCall, Plan, Slot } from '../model/plan.ts';
import { elements, type PlainFormat, SLOT_BYTES, type WeightFormat } from '../tensor.ts';
import type { Executor, PreparedPlan, ReadRequest, Upload } from './executor.ts';

/** Weight matrices are kept as stored bytes, everything else as numbers. */
type Storage =
  | { readonly slot: Slot; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly slot: Slot; readonly values: Values };

export class CpuExecutor implements Executor {
  readonly kind = 'cpu';
  readonly name = 'CPU interpreter (double precision)';
  /** Nothing limits it, but plans stay those of the smallest GPU unless a matrix must be split. */
  readonly caps: Capabilities = { ...BASELINE, maxBindingBytes: 2 ** 31 };
  readonly depth = 1;
  readonly #slots = new Map<string, Storage>();

  ensure(slots: Iterable<Slot>): void {
    for (const slot of slots) {
      const old = this.#slots.get(slot.name);
      if (old !== undefined && old.slot.bytes >= slot.bytes) continue;
      if (slot.name.includes('#')) this.#slots.set(slot.name, { slot, bytes: new Uint8Array(slot.bytes) });
      else {
        const count = valuesOf(slot);
        const values = slot.type === 'u32' ? new Uint32Array(count) : new Float64Array(count);
        this.#slots.set(slot.name, { slot, values });
      }
    }
  }

  write(slot: string, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    const storage = this.#find(slot);
    if ('bytes' in storage) storage.bytes.set(bytes, offset);
    else if (storage.slot.type === 'u32')
      storage.values.set(new Uint32Array(bytes.slice().buffer), offset / 4);
    else storage.values.set(new Float32Array(bytes.slice().buffer), offset / 4);
  }

  upload(): Upload {
    const room = async (slot: string, offset: number, bytes: number) => {
      const storage = this.#find(slot);
      if (!('bytes' in storage)) throw new DeviceError(`slot ${slot} is not a matrix`, { slot });
      return { bytes: storage.bytes.subarray(offset, offset + bytes), send: () => {} };
    };
    return { room, arrived: async () => {}, dispose: () => {} };
  }

  async prepare(plan: Plan): Promise<PreparedPlan> {
    this.ensure(plan.slots.values());
    return { plan };
  }

  async run(prepared: PreparedPlan, read: readonly ReadRequest[]): Promise<Uint8Array<ArrayBuffer>[]> {
    for (const call of prepared.plan.calls) {
      call.kernel.reference(call.params, this.#io(call));
      // References run for long; other work of the process gets its turn between them.
      await new Promise<void>((resolve) => setImmediateOrTimeout(resolve));
    }
    return read.map((request) => {
      const storage = this.#find(request.slot);
      if ('bytes' in storage) return storage.bytes.slice(0, request.bytes);
      const values = storage.values.subarray(0, request.bytes / 4);
      const out = storage.slot.type === 'u32' ? Uint32Array.from(values) : Float32Array.from(values);
      return new Uint8Array(out.buffer);
    });
  }

  async runAll(
    steps: readonly PreparedPlan[],
    read: readonly ReadRequest[],
  ): Promise<Uint8Array<ArrayBuffer>[][]> {
    const results: Uint8Array<ArrayBuffer>[][] = [];
    for (const step of steps) results.push(await this.run(step, read));
    return results;
  }

  release(): void {}

  async idle(): Promise<void> {}

  bytes(): Readonly<Record<string, number>> {
    const sums: Record<string, number> = { total: 0 };
    for (const storage of this.#slots.values()) {
      const { purpose } = storage.slot;
      const bytes = 'bytes' in storage ? storage.bytes.byteLength : storage.values.byteLength;
      sums[purpose] = (sums[purpose] ?? 0) + bytes;
      sums.total += bytes;
    }
    return sums;
  }

  dispose(): void {
    this.#slots.clear();
  }

  #find(slot: string): Storage {
    const storage = this.#slots.get(slot);
    if (storage === undefined) throw new DeviceError(`there is no storage for slot ${slot}`, { slot });
    return storage;
  }

  #io(call: KernelCall): ReferenceIo {
    const specs = call.kernel.bindings(call.params);
    const values = (name: string): Values => {
      const storage = this.#find(call.slots[name]);
      if ('bytes' in storage) throw new DeviceError(`${call.label}: ${name} is a matrix`);
      return storage.values;
    };
    return {
      f: (name) => values(name) as Float64Array,
      u: (name) => values(name) as Uint32Array,
      m: (name): Matrix => {
        const storage = this.#find(call.slots[name]);
        if (!('bytes' in storage)) throw new DeviceError(`${call.label}: ${name} is not a matrix`);
        const { dims, cols: width, group } = specs[name];
        const [rows, cols] = dims;
        const format = { format: storage.slot.type as WeightFormat, group };
        const meaningful = width ?? cols;
        const stride = rowBytes(format, meaningful);
        return {
          rows,
          cols,
          row: (r, out) => decodeRow(format, meaningful, storage.bytes, r * stride, out),
        };
      },
    };
  }
}

/** How many numbers a slot holds. */
function valuesOf({ name, type, bytes, dims }: Slot): number {
  if (type !== 'fp8_pages') return Math.ceil(bytes / SLOT_BYTES[type as PlainFormat | 'u32']);
  if (dims === undefined)
    throw new DeviceError(`slot ${name}: expected the shape of its pages`, { slot: name });
  return elements(dims);
}

/** Node has setImmediate; browsers do not. */
function setImmediateOrTimeout(resolve: () => void): void {
  if (typeof setImmediate === 'function') setImmediate(resolve);
  else setTimeout(resolve);
}
