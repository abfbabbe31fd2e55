/** What a model needs of whatever runs its plans: the GPU, or the CPU interpreter. */
import type { Capabilities } from '../kernels/kernel.ts';
import type { Plan, Slot } from '../model/plan.ts';

/** Bytes of a slot to be read back after a step. */
export interface ReadRequest {
  readonly slot: string;
  readonly bytes: number;
}

/** A plan made ready to run; belongs to the executor that prepared it. */
export interface PreparedPlan {
  readonly plan: Plan;
}

/** Memory for bytes of a slot. */
export interface Room {
  /** To be written whole: it may hold anything. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Sends the bytes on their way, once; the memory is then no longer valid. */
  send(): void;
}

/** Fills slots of weight matrices with more than should be in memory at a time. */
export interface Upload {
  /** Memory for bytes [offset, offset + bytes) of a slot, multiples of 4; waits while too much is under way. */
  room(slot: string, offset: number, bytes: number): Promise<Room>;
  /** Resolves when everything that was sent has arrived; throws DeviceError when something did not. */
  arrived(): Promise<void>;
  /** Frees the memory of rooms. */
  dispose(): void;
}

/** Holds slots by name and runs plans over them. */
export interface Executor {
  readonly kind: 'gpu' | 'cpu';
  /** Adapter name, for people. */
  readonly name: string;
  readonly caps: Capabilities;
  /** Steps that may be queued before the first of them has been read back. */
  readonly depth: number;
  /** Makes slots that are missing or too small; new ones are zero. */
  ensure(slots: Iterable<Slot>): void;
  /** Writes bytes of a slot; takes effect before any later run. */
  write(slot: string, offset: number, bytes: Uint8Array<ArrayBuffer>): void;
  /** Begins to fill slots; dispose of it afterwards. */
  upload(): Upload;
  /** Compiles what the plan needs and binds its slots. */
  prepare(plan: Plan): Promise<PreparedPlan>;
  /** Queues one execution; resolves with the requested bytes once it has run. */
  run(prepared: PreparedPlan, read: readonly ReadRequest[]): Promise<Uint8Array<ArrayBuffer>[]>;
  /** Queues executions that follow each other, in one submit; resolves with what was requested after each, once all have run. */
  runAll(steps: readonly PreparedPlan[], read: readonly ReadRequest[]): Promise<Uint8Array<ArrayBuffer>[][]>;
  /** Frees what belongs to a prepared plan alone. */
  release(prepared: PreparedPlan): void;
  /** Resolves when everything queued has run. */
  idle(): Promise<void>;
  /** Bytes held, by purpose and as `total`. */
  bytes(): Readonly<Record<string, number>>;
  /** Frees every byte. */
  dispose(): void;
}
