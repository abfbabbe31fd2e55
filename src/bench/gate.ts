/** Checks a kernel before it is timed: two of its test shapes in full, and a few rows of the shape to be timed. */
import { BUFFER_NAMES } from '../kernels/buffers.ts';
import {
  type AnyKernel,
  bindingBytes,
  type Matrix,
  type Tolerance,
  toleranceOf,
  type Values,
  type Variant,
} from '../kernels/kernel.ts';
import { type LinearParams, sharedRows } from '../kernels/linear.ts';
import { matmul_join } from '../kernels/matmul_join.ts';
import type { AttentionParams } from '../kernels/mfa_decode.ts';
import { PAGE } from '../kernels/paged.ts';
import { sliceLength } from '../kernels/slices.ts';
import { splitRows } from '../kernels/split_k.ts';
import { compare, decodeValues, expected, makeCase, storedTolerance } from '../kernels/verify.ts';
import type { Gpu } from '../runtime/device.ts';
import type { PipelineCache } from '../runtime/pipelines.ts';
import { runKernel } from '../runtime/run_kernel.ts';
import { elements } from '../tensor.ts';
import type { Contents } from './contents.ts';
import type { KernelSetup } from './setup.ts';
import type { GpuClock } from './timing.ts';

/** Most bytes of a result that are read back. */
const READ_BYTES = 64 * 1024 * 1024;

/** Positions of the longest slices in the attention kernels' tests, for which their tolerances are stated. */
const TEST_SLICE = 1024;

/** Stands in integer results until the reference writes them. */
const UNWRITTEN = 0xdeadbeef;

/** A reference call that computes some of the results, over contents with repeated rows. */
interface Spot<P> {
  readonly params: P;
  /** Values that replace those of a binding. */
  readonly values?: Readonly<Record<string, Values>>;
  /** Row of the stored matrix that the reference's row stands for. */
  readonly row?: (r: number) => number;
  /** Which element of the stored result the reference's element `i` is; undefined = none. Absent = the same. */
  readonly element?: (i: number) => number | undefined;
  /** Times the kernel's absolute tolerance, where more is summed than in its tests. */
  readonly slack?: number;
}

/**
 * Two of the kernel's own test shapes against the reference.
 *
 * Resolves with undefined, or one line saying what is wrong.
 */
export async function checkTestShapes(
  gpu: Gpu,
  pipelines: PipelineCache,
  kernel: AnyKernel,
  variant: Variant,
): Promise<string | undefined> {
  const shapes = kernel.shapes.test;
  for (const { name, params } of [shapes[0], shapes[Math.floor(shapes.length / 2)]]) {
    const input = makeCase(kernel, params, 1);
    const got = await runKernel(gpu, pipelines, kernel, params, variant, input.bytes);
    const fault = compare(kernel, params, variant, input, expected(kernel, params, input), got);
    if (fault !== undefined) return `test shape '${name}': ${fault}`;
  }
  return undefined;
}

/**
 * Runs the call once over fresh contents: all results must be finite, and some must agree with the reference.
 *
 * Resolves with undefined, or one line saying what is wrong.
 */
export async function checkSpots<P>(
  kernel: AnyKernel,
  p: P,
  variant: Variant,
  setup: KernelSetup,
  clock: GpuClock,
): Promise<string | undefined> {
  await clock.pass((pass) => setup.encode(pass, 1));
  const results: Record<string, Values> = {};
  for (const [name, { spec }] of Object.entries(setup.contents)) {
    if (spec.use === 'in') continue;
    const bytes = await setup.read(name, Math.min(READ_BYTES, bindingBytes(spec)));
    results[name] = decodeValues(spec, bytes);
    const bad = results[name].findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) return `${name}[${bad}]: expected a finite number, got ${results[name][bad]}`;
  }
  let compared = 0;
  const tolerance = toleranceOf(kernel, p, variant);
  for (const spot of spots(kernel, p, setup.contents)) {
    const written = reference(kernel, spot, setup.contents);
    for (const [name, { before, after }] of written) {
      const found = compareWritten(tolerance, spot, setup.contents[name], before, after, results[name]);
      if (typeof found === 'string') return `${name}${found}`;
      compared += found;
    }
  }
  return compared === 0 ? 'the reference wrote nothing to compare' : undefined;
}

/** Reference calls that are cheap at any size. */
function spots<P>(kernel: AnyKernel, p: P, contents: Readonly<Record<string, Contents>>): Spot<unknown>[] {
  const linear = p as Partial<LinearParams>;
  if (linear.shard !== undefined && kernel !== matmul_join) {
    return linear.splitK === undefined ? linearSpots(p as LinearParams) : splitSpots(p as LinearParams);
  }
  const attention = p as Partial<AttentionParams>;
  if (kernel.name.startsWith('mfa_') && attention.splitLen !== undefined) {
    return [attentionSpot(p as AttentionParams, contents)];
  }
  return [{ params: p }];
}

/** The first two rows and the last two of every expert; of a shared expert, those with the same numbers. */
function linearSpots(p: LinearParams): Spot<LinearParams>[] {
  const { shard, source } = p;
  const shared = sharedRows(source);
  const least = Math.min(shard.rowCount, shared > 0 ? shared : shard.rowCount);
  const count = Math.min(2, least);
  return [0, least - count].map((first) => ({
    params: {
      ...p,
      ...(shared > 0 ? { source: { ...source, sharedRows: count } } : {}),
      shard: { ...shard, rowBegin: shard.rowBegin + first, rowCount: count },
    },
    row: (r) => Math.floor(r / count) * shard.rowCount + first + (r % count),
  }));
}

/** Of a layer whose columns are split: the same of the rows before, and of those that are, in every part. */
function splitSpots(p: LinearParams): Spot<LinearParams>[] {
  const { splitK, shard } = p;
  if (splitK === undefined) return [];
  const { from, parts } = splitK;
  const whole = { ...p, splitK: undefined, shard: { ...shard, rowCount: from } };
  const count = Math.min(2, shard.rowCount - from);
  const width = splitRows(shard.rowCount, splitK);
  const split = [from, shard.rowCount - count].map((first): Spot<LinearParams> => {
    const params = {
      ...p,
      splitK: { from: 0, parts },
      shard: { ...shard, rowBegin: shard.rowBegin + first, rowCount: count },
    };
    const stored = splitRows(count, params.splitK);
    return {
      params,
      row: (r) => first + r,
      // Sums of a part and a token lie together, and are padded.
      element: (i) =>
        i % stored < count ? Math.floor(i / stored) * width + first - from + (i % stored) : undefined,
    };
  });
  return [...(from > 0 ? linearSpots(whole) : []), ...split];
}

/**
 * The first token's first slice for the kernel over the cache, the whole of the first token where slices are joined.
 * Cache pages repeat, so the page table is folded onto the pages that a unit holds. Partial results are sums over a slice
 * that nothing has divided: their rounding grows with the square root of its positions, and as much again of how often each
 * of these comes.
 */
function attentionSpot(
  p: AttentionParams,
  contents: Readonly<Record<string, Contents>>,
): Spot<AttentionParams> {
  const length = sliceLength(
    p,
    Math.min(contents.places.values[1] + 1, p.window ?? Number.POSITIVE_INFINITY),
  );
  const params = { ...p, tokens: 1, splitLen: length };
  const cache = contents.k_cache;
  if (cache === undefined) return { params };
  const [, kvHeads, D8] = cache.spec.dims;
  const pages = cache.values.length / (PAGE * kvHeads * D8);
  const places = contents.places.values.slice();
  // A window is short wherever it lies, and its ring of pages begins anywhere.
  if (p.window === undefined) places[1] = Math.min(places[1], length - 1);
  const table = Uint32Array.from(contents.page_table.values, (page) =>
    page === 0xffffffff ? page : page % pages,
  );
  const { values: k_cache } = cache;
  return {
    params,
    values: { places, page_table: table, k_cache, v_cache: contents.v_cache.values },
    slack: Math.max(1, Math.sqrt(length / TEST_SLICE)) * Math.sqrt(Math.max(1, length / (pages * PAGE))),
  };
}

/** Runs a reference call; what it may write, before and after. */
function reference(
  kernel: AnyKernel,
  spot: Spot<unknown>,
  contents: Readonly<Record<string, Contents>>,
): Map<string, { before: Values; after: Values }> {
  const specs = kernel.bindings(spot.params);
  const written = new Map<string, { before: Values; after: Values }>();
  const made = new Map<string, Values>();
  const find = (name: string): Values => {
    const known = made.get(name);
    if (known !== undefined) return known;
    const given = contents[name];
    if (given === undefined) throw new Error(`${kernel.name}: the reference asks for ${name}`);
    const { use, dims } = specs[name];
    const fresh = spot.values?.[name] ?? repeated(given.values, elements(dims));
    if (use === 'out') fresh.fill(given.spec.type === 'u32' ? UNWRITTEN : Number.NaN);
    made.set(name, fresh);
    if (use !== 'in') written.set(name, { before: fresh.slice(), after: fresh });
    return fresh;
  };
  const matrix = (name: string): Matrix => {
    const { spec, values } = contents[name];
    const [rows, cols] = spec.dims;
    const unitRows = values.length / cols;
    // Only the matrix that is cut into shards is numbered by them, in each of its buffers.
    const cut = (BUFFER_NAMES as readonly string[]).includes(name);
    const at = (cut ? spot.row : undefined) ?? ((r: number) => r);
    const row = (r: number, out: Float64Array): void => {
      const begin = (at(r) % unitRows) * cols;
      out.set((values as Float64Array).subarray(begin, begin + cols));
    };
    return { rows, cols, row };
  };
  kernel.reference(spot.params, {
    f: (name) => find(name) as Float64Array,
    u: (name) => find(name) as Uint32Array,
    m: matrix,
  });
  return written;
}

/** `count` values of a unit over and over. */
function repeated(unit: Values, count: number): Values {
  const out = unit instanceof Float64Array ? new Float64Array(count) : new Uint32Array(count);
  for (let at = 0; at < count; at += unit.length)
    out.set(unit.subarray(0, Math.min(unit.length, count - at)), at);
  return out;
}

/** How many elements the reference wrote and agree, or what is wrong. */
function compareWritten(
  { abs, rel }: Tolerance,
  { slack = 1, element = (i) => i }: Spot<unknown>,
  { spec }: Contents,
  before: Values,
  after: Values,
  got: Values,
): number | string {
  const relative = rel + storedTolerance(spec).rel;
  let compared = 0;
  for (let i = 0; i < after.length; i++) {
    const want = after[i];
    if (Object.is(want, before[i])) continue;
    const at = element(i);
    if (at === undefined || at >= got.length) continue;
    compared++;
    const same =
      spec.type === 'u32'
        ? want === got[at]
        : Math.abs(got[at] - want) <= slack * abs + relative * Math.abs(want);
    if (!same) return `[${at}]: expected ${want}, got ${got[at]}`;
  }
  return compared;
}
