/**
 * A kernel is declared once: what it binds, how it is specialised and dispatched, its f64 reference, its cost, its
 * tolerance and the shapes it is tested and timed at. The GPU runtime, the CPU interpreter, the tests, the benchmarks
 * and the cost model all read this declaration.
 */
import { KernelError } from '../errors.ts';
import { rowBytes } from '../formats/index.ts';
import { elements, isPlain, SLOT_BYTES, type WeightFormat } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { type Constants, type SpecialisedWgsl, specialise } from '../wgsl/specialise.ts';
import { fp8PagesBytes } from './fp8_pages.ts';

/**
 * Element type of a buffer. Weight formats are packed rows that kernels decode while reading; `fp8_pages` are the pages of a
 * cache (`fp8_pages.ts`).
 */
export type SlotType = 'u32' | WeightFormat | 'fp8_pages';

/** What a kernel binds under one WGSL name. */
export interface BindingSpec {
  readonly type: SlotType;
  /** Columns that share a scale, where the type says nothing of it. */
  readonly group?: number | undefined;
  /** Logical shape; the last dimension counts stored elements, i.e. includes row padding. */
  readonly dims: readonly number[];
  /** Elements of a row that are meaningful; what follows is padding: zero in weights, never read in activations. */
  readonly cols?: number;
  /** 'in' is only read, 'out' is only written (every element that the reference writes), 'inout' is both. */
  readonly use: 'in' | 'out' | 'inout';
  /** Loaded from a checkpoint: the loader zeroes its padding. */
  readonly weight?: boolean;
}

/** Stored bytes of a binding. */
export function bindingBytes(spec: BindingSpec): number {
  if (spec.type === 'fp8_pages') return fp8PagesBytes(spec.dims);
  if (spec.type === 'u32' || isPlain(spec.type)) return elements(spec.dims) * SLOT_BYTES[spec.type];
  const [rows, stored] = spec.dims;
  return rows * rowBytes({ format: spec.type, group: spec.group }, spec.cols ?? stored);
}

/** Values of a binding as the references see them: floats in double precision whatever the buffer holds. */
export type Values = Float64Array | Uint32Array;

/** A weight matrix `[rows, cols]`, given to references by rows so that large ones need not be decoded whole. */
export interface Matrix {
  readonly rows: number;
  /** Stored columns, including padding. */
  readonly cols: number;
  /** Decodes row `r` into `out` (length >= cols). */
  row(r: number, out: Float64Array): void;
}

/** Arguments of a reference, by WGSL binding name. */
export interface ReferenceIo {
  f(name: string): Float64Array;
  u(name: string): Uint32Array;
  m(name: string): Matrix;
}

/** What the adapter offers; decides which variants of a kernel may run. */
export interface Capabilities {
  /** Whether WGSL subgroup operations are available. */
  readonly subgroups: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /**
   * Whether subgroups have 32 invocations and multiply 16 x 16 matrices of binary16 with f32 sums (`shader-f16` and
   * subgroup matrices), beside 48 KiB of workgroup memory.
   */
  readonly matrixUnits: boolean;
  /** Whether WGSL multiplies bytes that are packed in words (a language feature). */
  readonly packedDots?: boolean;
  /** Whether WGSL has f16 arithmetic (`shader-f16`); only a probe uses it by itself. */
  readonly shaderF16?: boolean;
  /** Storage buffers that a kernel may bind. */
  readonly maxStorageBuffers: number;
  /** Largest storage buffer binding, in bytes. */
  readonly maxBindingBytes: number;
  /** Largest number of workgroups in one dimension of a dispatch. */
  readonly maxWorkgroups: number;
}

/** WebGPU's guaranteed minimum: no optional feature, default limits. */
export const BASELINE: Capabilities = {
  subgroups: false,
  subgroupMinSize: 0,
  subgroupMaxSize: 0,
  matrixUnits: false,
  maxStorageBuffers: 8,
  maxBindingBytes: 128 * 1024 * 1024,
  maxWorkgroups: 65535,
};

/** Work of one call, for rooflines: see each declaration for the sums. */
export interface Cost {
  readonly flops: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** How far a result may lie from the reference: |got - want| <= abs + rel * |want|, and 1 - cosine <= cosine. */
export interface Tolerance {
  readonly abs: number;
  readonly rel: number;
  readonly cosine: number;
}

/** A named shape for tests or benchmarks. */
export interface Shape<P> {
  readonly name: string;
  readonly params: P;
  /** Benchmark shapes: `real` are those of the released model (the default), `small` those of small presets. */
  readonly set?: 'real' | 'small';
  /** Test shapes: one variant is enough on slow devices, since others differ in nothing that the shape is about. */
  readonly once?: boolean;
}

/** One way of running a kernel: which library files it is joined with and what it needs of the adapter. */
export interface Variant {
  readonly name: string;
  readonly libs: readonly WgslName[];
  readonly enables: readonly string[];
  /** Constants of the kernel that this variant sets. */
  readonly constants?: Constants;
  /** Invocations that cooperate on one sum: fixed by the text, or the adapter's subgroup size. */
  readonly team: (caps: Capabilities) => number;
  readonly available: (caps: Capabilities) => boolean;
}

/** Subgroups below this size are those of processors without many lanes, where a barrier costs more than it brings. */
export const SMALL_SUBGROUP = 16;

/** Reductions through workgroup memory: runs everywhere. */
export const WORKGROUP_TEAM: Variant = {
  name: 'workgroup',
  libs: ['lib/team_workgroup'],
  enables: [],
  team: () => 32,
  available: () => true,
};

/** Reductions through subgroup operations, of any subgroup size. */
export const SUBGROUP_TEAM: Variant = {
  name: 'subgroup',
  libs: ['lib/team_subgroup'],
  enables: ['subgroups'],
  team: (caps) => caps.subgroupMaxSize,
  available: (caps) => caps.subgroups,
};

/** The same where subgroups are as large as those of GPUs, and where they are not. */
export const LARGE_SUBGROUP_TEAM: Variant = {
  ...SUBGROUP_TEAM,
  available: (caps) => caps.subgroups && caps.subgroupMaxSize >= SMALL_SUBGROUP,
};
export const SMALL_SUBGROUP_TEAM: Variant = {
  ...SUBGROUP_TEAM,
  name: 'small-subgroup',
  available: (caps) => caps.subgroups && caps.subgroupMaxSize < SMALL_SUBGROUP,
};

/** The single variant of a kernel that needs nothing of the adapter. */
export const PLAIN: Variant = {
  name: 'plain',
  libs: [],
  enables: [],
  team: () => 1,
  available: () => true,
};

/** Matrix units: only on adapters that have them; plans name another kernel elsewhere. */
export const MATRIX_UNITS: Variant = {
  name: 'matrix',
  libs: [],
  enables: ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
  team: () => 32,
  available: (caps) => caps.matrixUnits,
};

/** Declaration of a kernel with call parameters `P`. */
export interface Kernel<P> {
  /** Base name of the .wgsl file, the declaration, the test and the pipeline label. */
  readonly name: WgslName;
  /** One sentence for tables: what it computes. */
  readonly summary: string;
  /** Fastest first. The last one runs on any adapter, unless the kernel is for adapters with matrix units. */
  readonly variants: readonly Variant[];
  /** Library files joined for these parameters, besides the variant's own. */
  libs(p: P, variant: Variant): readonly WgslName[];
  /** Throws KernelError naming the parameter when `p` is not supported. */
  check(p: P): void;
  /** Specialised constants: what may change the text, hence the pipeline. Without `variant`: of the first. */
  constants(p: P, variant?: Variant): Constants;
  /** Fields of `struct Params`: fixed for a planned call, no part of the pipeline. */
  uniforms(p: P): Readonly<Record<string, number>>;
  /** Every storage binding by WGSL name. */
  bindings(p: P): Readonly<Record<string, BindingSpec>>;
  /** Workgroups in x, y, z. */
  workgroups(p: P, team: number): readonly [number, number, number];
  /** Computes the outputs in double precision with plain loops. */
  reference(p: P, io: ReferenceIo): void;
  cost(p: P): Cost;
  /** One for all shapes, or by parameters and variant. */
  readonly tolerance: Tolerance | ((p: P, variant: Variant) => Tolerance);
  readonly shapes: { readonly test: readonly Shape<P>[]; readonly bench: readonly Shape<P>[] };
  /** Inputs for a test or benchmark shape that cannot be plain random numbers (positions, page tables, …). */
  inputs?(p: P, random: () => number): Readonly<Record<string, Values>>;
}

/** A kernel whose parameter type is known only to itself; calls pair it with parameters that it checked. */
// biome-ignore lint/suspicious/noExplicitAny: heterogeneous lists of kernels need a parameter type that accepts all
export type AnyKernel = Kernel<any>;

/** How far results of a variant of `kernel` for `p` may lie from the reference. */
export function toleranceOf<P>(kernel: Kernel<P>, p: P, variant: Variant): Tolerance {
  return typeof kernel.tolerance === 'function' ? kernel.tolerance(p, variant) : kernel.tolerance;
}

/**
 * The fastest variant of `kernel` that `caps` allows.
 *
 * @throws KernelError when the adapter can run none.
 */
export function pickVariant(kernel: AnyKernel, caps: Capabilities): Variant {
  const variant = kernel.variants.find((v) => v.available(caps));
  if (variant === undefined) {
    const names = kernel.variants.map((v) => v.name).join(', ');
    throw new KernelError(kernel.name, `this adapter can run no variant (${names})`, { caps });
  }
  return variant;
}

/** What the final WGSL of `kernel` for parameters `p` is made of: the same parts give the same text. */
export function kernelParts<P>(
  kernel: Kernel<P>,
  p: P,
  variant: Variant,
): { readonly files: readonly WgslName[]; readonly constants: Constants } {
  return {
    files: [kernel.name, ...kernel.libs(p, variant), ...variant.libs],
    constants: { ...kernel.constants(p, variant), ...variant.constants },
  };
}

/** The final WGSL of `kernel` for parameters `p`. */
export function kernelWgsl<P>(kernel: Kernel<P>, p: P, variant: Variant): SpecialisedWgsl {
  const { files, constants } = kernelParts(kernel, p, variant);
  return specialise(files, constants, variant.enables);
}

/** Typed identity: infers `P` from `check` and friends. */
export function defineKernel<P>(kernel: Kernel<P>): Kernel<P> {
  return kernel;
}
