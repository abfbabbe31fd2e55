/**
 * The model as data: a plan is an ordered list of kernel calls over named slots. The GPU runtime executes it, the CPU
 * interpreter evaluates it with the kernels' references, the cost model prices it. Nothing here knows a device or file.
 */
import { KernelError } from '../errors.ts';
import {
  type AnyKernel,
  type BindingSpec,
  bindingBytes,
  type Capabilities,
  type Kernel,
  pickVariant,
  type SlotType,
  type Variant,
} from '../kernels/kernel.ts';

/** Which side of an attention/FFN disaggregation a call belongs to. */
export type Role = 'attention' | 'ffn';

/** What a slot is for; weights are loaded, caches live as long as the model, inputs are written every step. */
export type SlotPurpose = 'weights' | 'cache' | 'activations' | 'inputs';

/** A named buffer. */
export interface Slot {
  readonly name: string;
  readonly type: SlotType;
  readonly bytes: number;
  /** Logical shape of its largest use in a plan. */
  readonly dims?: readonly number[];
  readonly purpose: SlotPurpose;
}

/** One dispatch. */
export interface KernelCall {
  readonly kernel: AnyKernel;
  readonly params: unknown;
  readonly variant: Variant;
  /** Slot name of every storage binding, by its WGSL name. */
  readonly slots: Readonly<Record<string, string>>;
  readonly role: Role;
  /** Decoder layer, or undefined for embedding, head and sampling. */
  readonly layer: number | undefined;
  /** What is computed, in the checkpoint's words, e.g. `layers.3.moe.down_proj`. */
  readonly label: string;
}

/** Calls in order, with every slot they use. */
export interface Plan {
  readonly calls: readonly KernelCall[];
  readonly slots: ReadonlyMap<string, Slot>;
  /** Rows of the residual stream. */
  readonly tokens: number;
}

/** Collects calls and sizes slots by their largest use. */
export class PlanBuilder {
  /** What the adapter offers. */
  readonly caps: Capabilities;
  readonly #calls: KernelCall[] = [];
  readonly #slots = new Map<string, Slot>();
  readonly #purposes: (slot: string) => SlotPurpose;
  #layer: number | undefined;
  #role: Role = 'attention';

  constructor(caps: Capabilities, purposes: (slot: string) => SlotPurpose) {
    this.caps = caps;
    this.#purposes = purposes;
  }

  /** Calls added from here on belong to this layer and role. */
  enter(role: Role, layer?: number): void {
    this.#role = role;
    this.#layer = layer;
  }

  /**
   * Adds a call.
   *
   * @throws KernelError when parameters are not supported, a binding has no slot, a slot is used with two types, or a
   *   binding or dispatch exceeds the adapter's limits.
   */
  call<P>(kernel: Kernel<P>, params: P, slots: Readonly<Record<string, string>>, label: string): void {
    kernel.check(params);
    const specs = kernel.bindings(params);
    for (const [binding, spec] of Object.entries(specs)) {
      const slot = slots[binding];
      if (slot === undefined) throw new KernelError(kernel.name, `${label}: binding ${binding} has no slot`);
      this.#use(kernel.name, label, slot, spec);
    }
    const bound = Object.keys(specs).length;
    if (bound > this.caps.maxStorageBuffers) {
      throw new KernelError(
        kernel.name,
        `${label}: expected at most ${this.caps.maxStorageBuffers} storage buffers, got ${bound}`,
      );
    }
    const extra = Object.keys(slots).find((name) => specs[name] === undefined);
    if (extra !== undefined) throw new KernelError(kernel.name, `${label}: there is no binding ${extra}`);
    const variant = pickVariant(kernel, this.caps);
    const most = Math.max(...kernel.workgroups(params, variant.team(this.caps)));
    if (most > this.caps.maxWorkgroups) {
      throw new KernelError(
        kernel.name,
        `${label}: expected at most ${this.caps.maxWorkgroups} workgroups, got ${most}`,
      );
    }
    this.#calls.push({ kernel, params, variant, slots, role: this.#role, layer: this.#layer, label });
  }

  #use(kernel: string, label: string, name: string, spec: BindingSpec): void {
    const bytes = bindingBytes(spec);
    if (bytes > this.caps.maxBindingBytes) {
      throw new KernelError(
        kernel,
        `${label}: slot ${name} needs ${bytes} bytes, one binding holds ${this.caps.maxBindingBytes}; use fewer tokens, sequences or a shorter context`,
        { slot: name, bytes, limit: this.caps.maxBindingBytes },
      );
    }
    const known = this.#slots.get(name);
    if (known !== undefined && known.type !== spec.type) {
      throw new KernelError(kernel, `${label}: slot ${name} is ${known.type}, not ${spec.type}`);
    }
    if (known === undefined || known.bytes < bytes) {
      const { type, dims } = spec;
      this.#slots.set(name, { name, type, bytes, dims, purpose: this.#purposes(name) });
    }
  }

  finish(tokens: number): Plan {
    return { calls: this.#calls, slots: this.#slots, tokens };
  }
}
