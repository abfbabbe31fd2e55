/**
 * Checks a kernel's result against its reference: seeded inputs with poison where nothing may be read, sentinels where
 * nothing may be written, and a comparison in three steps (special values, tolerance per element, cosine over all).
 */
import { decodeRow, rowBytes } from '../formats/index.ts';
import { randomRows } from '../formats/random.ts';
import { decodeWeights, elements, encodeWeights, isPlain, PLAIN_BYTES, type PlainFormat } from '../tensor.ts';
import { decodeFp8Pages, encodeFp8Pages } from './fp8_pages.ts';
import {
  type AnyKernel,
  type BindingSpec,
  type Matrix,
  type ReferenceIo,
  type Tolerance,
  toleranceOf,
  type Values,
  type Variant,
} from './kernel.ts';

/** A small, fast, seeded generator of numbers in [0, 1) (splitmix-style mixing of a counter). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** Written into outputs before a run; an element that the reference leaves alone must still hold it. */
const SENTINEL_U32 = 0xdeadbeef;

/** Bytes and values of every binding of one kernel call. */
export interface KernelCase {
  readonly bytes: Record<string, Uint8Array<ArrayBuffer>>;
  readonly values: Record<string, Values>;
}

/** Stored bytes of a binding's logical values. */
export function encodeBinding({ type, dims }: BindingSpec, values: Values): Uint8Array<ArrayBuffer> {
  if (type === 'fp8_pages') return encodeFp8Pages(dims, values as Float64Array);
  return encodeValues(type as PlainFormat | 'u32', values);
}

/** Stored bytes of logical values. */
export function encodeValues(type: PlainFormat | 'u32', values: Values): Uint8Array<ArrayBuffer> {
  if (type === 'u32') return new Uint8Array(Uint32Array.from(values).buffer);
  return encodeWeights(type, values) as Uint8Array<ArrayBuffer>;
}

/** Logical values of stored bytes. */
export function decodeValues(spec: BindingSpec, bytes: Uint8Array<ArrayBuffer>): Values {
  const { type, group } = spec;
  if (type === 'fp8_pages') return decodeFp8Pages(spec.dims, bytes);
  if (type === 'u32') return new Uint32Array(bytes.slice().buffer);
  if (isPlain(type)) {
    const out = new Float64Array(bytes.length / PLAIN_BYTES[type]);
    decodeWeights(type, bytes, 0, out.length, out);
    return out;
  }
  const stored = spec.dims[1];
  const cols = spec.cols ?? stored;
  const size = rowBytes({ format: type, group }, cols);
  const out = new Float64Array((bytes.length / size) * stored);
  for (let r = 0; r * size < bytes.length; r++) {
    decodeRow({ format: type, group }, cols, bytes, r * size, out.subarray(r * stored, (r + 1) * stored));
  }
  return out;
}

/**
 * Seeded bytes of `rows` rows of a compressed binding, of weights up to about `amplitude`; undefined for other types.
 */
export function compressedRows(
  { type, group, cols, dims }: BindingSpec,
  rows: number,
  amplitude: number,
  random: () => number,
): Uint8Array<ArrayBuffer> | undefined {
  if (type === 'u32' || type === 'fp8_pages' || isPlain(type)) return undefined;
  return randomRows({ format: type, group }, cols ?? dims[1], rows, amplitude, random);
}

/** Seeded contents for every binding of a call: what the kernel's own `inputs` give, random numbers for the rest. */
export function makeCase<P>(kernel: AnyKernel, p: P, seed: number): KernelCase {
  const random = seededRandom(seed);
  const specs: Readonly<Record<string, BindingSpec>> = kernel.bindings(p);
  const given: Readonly<Record<string, Values>> = kernel.inputs?.(p, random) ?? {};
  const bytes: KernelCase['bytes'] = {};
  const values: KernelCase['values'] = {};
  for (const [name, spec] of Object.entries(specs)) {
    bytes[name] =
      compressedRows(spec, spec.dims[0], 1, random) ??
      encodeBinding(spec, given[name] ?? filler(spec, random));
    values[name] = decodeValues(spec, bytes[name]);
  }
  return { bytes, values };
}

function filler(spec: BindingSpec, random: () => number): Values {
  const count = elements(spec.dims);
  if (spec.type === 'u32') return new Uint32Array(count).fill(SENTINEL_U32);
  const out = new Float64Array(count).fill(Number.NaN);
  if (spec.use === 'out') return out;
  const stored = spec.dims[spec.dims.length - 1];
  const cols = spec.cols ?? stored;
  for (let i = 0; i < count; i++) {
    if (i % stored < cols) out[i] = random() * 2 - 1;
    else if (spec.weight === true) out[i] = 0;
  }
  return out;
}

/** Runs the reference over copies of the case's values; returns the values of every binding it may write. */
export function expected<P>(kernel: AnyKernel, p: P, input: KernelCase): Record<string, Values> {
  const specs: Readonly<Record<string, BindingSpec>> = kernel.bindings(p);
  const work: Record<string, Values> = {};
  for (const [name, values] of Object.entries(input.values)) work[name] = values.slice();
  kernel.reference(p, valuesIo(kernel.name, specs, work));
  return Object.fromEntries(Object.entries(work).filter(([name]) => specs[name].use !== 'in'));
}

/** Reference arguments over plain arrays. */
export function valuesIo(
  kernel: string,
  specs: Readonly<Record<string, BindingSpec>>,
  values: Readonly<Record<string, Values>>,
): ReferenceIo {
  const find = (name: string): Values => {
    const found = values[name];
    if (found === undefined) throw new Error(`${kernel}: the reference asks for ${name}, which is not bound`);
    return found;
  };
  return {
    f: (name) => find(name) as Float64Array,
    u: (name) => find(name) as Uint32Array,
    m(name): Matrix {
      const [rows, cols] = specs[name].dims;
      const data = find(name) as Float64Array;
      return { rows, cols, row: (r, out) => out.set(data.subarray(r * cols, (r + 1) * cols)) };
    },
  };
}

/** Result of a comparison: undefined when it holds, else one line saying what is wrong and where. */
export function compare<P>(
  kernel: AnyKernel,
  p: P,
  variant: Variant,
  input: KernelCase,
  want: Readonly<Record<string, Values>>,
  got: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
): string | undefined {
  const specs: Readonly<Record<string, BindingSpec>> = kernel.bindings(p);
  const tolerance = toleranceOf(kernel, p, variant);
  for (const [name, values] of Object.entries(want)) {
    const spec = specs[name];
    const fault = compareBinding(spec, tolerance, input.values[name], values, decodeValues(spec, got[name]));
    if (fault !== undefined) return `${kernel.name}: ${name}${fault}`;
  }
  return undefined;
}

function compareBinding(
  spec: BindingSpec,
  tolerance: Tolerance,
  before: Values,
  want: Values,
  got: Values,
): string | undefined {
  const stored = storedTolerance(spec);
  const rel = tolerance.rel + stored.rel;
  let dot = 0;
  let wantSquares = 0;
  let gotSquares = 0;
  let worst = { excess: 0, index: -1 };
  for (let i = 0; i < want.length; i++) {
    const w = want[i];
    const g = got[i];
    if (Number.isNaN(w) || (spec.type === 'u32' && w === before[i])) {
      if (!Object.is(w, g)) return `[${coordinates(spec, i)}]: expected nothing to be written, got ${g}`;
      continue;
    }
    if (spec.type === 'u32') {
      if (w !== g) return `[${coordinates(spec, i)}]: expected ${w}, got ${g}`;
      continue;
    }
    const error = Math.abs(g - w);
    const allowed = tolerance.abs + rel * Math.abs(w);
    if (!(error <= allowed)) {
      const excess = Number.isFinite(error) ? error / allowed : Number.POSITIVE_INFINITY;
      if (excess > worst.excess) worst = { excess, index: i };
    }
    dot += w * g;
    wantSquares += w * w;
    gotSquares += g * g;
  }
  if (worst.index >= 0) {
    const i = worst.index;
    return `[${coordinates(spec, i)}]: expected ${want[i]}, got ${got[i]} (${worst.excess.toPrecision(3)} x the tolerance)`;
  }
  const apart = wantSquares === 0 ? 0 : 1 - dot / Math.sqrt(wantSquares * gotSquares);
  // A handful of elements says little about direction beyond what the tolerance per element said.
  const bound = tolerance.cosine + stored.cosine;
  if (want.length >= 16 && apart > bound)
    return `: 1 - cosine is ${apart.toExponential(2)}, allowed ${bound}`;
  return undefined;
}

/**
 * What the storage of a result adds to its tolerance: in 16 or 8 bits, two close numbers may round apart by a unit in the
 * last place. In 8 bits that is much, so that the direction has to show whether it happens to more than a few.
 */
export function storedTolerance({ type }: BindingSpec): Pick<Tolerance, 'rel' | 'cosine'> {
  if (type === 'f16') return { rel: 2 ** -10, cosine: 2 ** -20 };
  return type === 'fp8_pages' ? { rel: 2 ** -3, cosine: 2 ** -16 } : { rel: 0, cosine: 0 };
}

function coordinates(spec: BindingSpec, index: number): string {
  const at: number[] = [];
  let rest = index;
  for (let d = spec.dims.length - 1; d >= 0; d--) {
    at.unshift(rest % spec.dims[d]);
    rest = Math.floor(rest / spec.dims[d]);
  }
  return at.join(', ');
}
