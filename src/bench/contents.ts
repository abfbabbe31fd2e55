/**
 * What the buffers of a benchmark hold. Real shapes take gigabytes, so every buffer repeats a short unit of whole rows:
 * the device fills itself, and a reference can compute any row without the rest.
 */

import { rowBytes } from '../formats/index.ts';
import { type Grouping, groupPairs } from '../kernels/expert_tiles.ts';
import { PROBES } from '../kernels/index.ts';
import { type AnyKernel, type BindingSpec, bindingBytes, type Cost, type Values } from '../kernels/kernel.ts';
import { chosenExperts, chosenPairs, type LinearParams } from '../kernels/linear.ts';
import type { AttentionParams } from '../kernels/mfa_decode.ts';
import type { ExpertsDownParams } from '../kernels/moe_down.ts';
import { PAGE, placesArray, scatteredPages } from '../kernels/paged.ts';
import { distinctExperts } from '../kernels/routing.ts';
import { compressedRows, decodeValues, encodeBinding, seededRandom } from '../kernels/verify.ts';
import { ceilDiv, elements, padRow } from '../tensor.ts';

/** Contents of one binding. */
export interface Contents {
  readonly spec: BindingSpec;
  /** Whole rows, repeated until the binding is full. */
  readonly unit: Uint8Array<ArrayBuffer>;
  /** The unit's values as references see them. */
  readonly values: Values;
}

/** Most bytes of a unit, unless one row is longer. */
const UNIT_BYTES = 512 * 1024;

/** Pages of a cache's unit, at least: where a few positions come again and again, rounding errors add up instead of averaging. */
const UNIT_PAGES = 16;

/**
 * How pairs that are grouped by their experts are spread over them: evenly, so that a law can be fitted to what is known; or
 * drawn at random, different experts for the choices of a token, as they come from a router. Where a few tokens' experts are
 * found from logits, they are spread evenly.
 */
export type Spread = 'even' | 'drawn';

/** Contents for every binding of a call, or for those that are `wanted`. */
export function benchContents<P>(
  kernel: AnyKernel,
  p: P,
  seed: number,
  spread: Spread,
  wanted: (name: string, spec: BindingSpec) => boolean = () => true,
): Record<string, Contents> {
  const random = seededRandom(seed);
  const given = givenValues(kernel, p, spread, random);
  const specs = Object.entries<BindingSpec>(kernel.bindings(p)).filter((entry) => wanted(...entry));
  return Object.fromEntries(
    specs.map(([name, spec]) => {
      const unit = randomUnit(name, spec, given[name], random);
      return [name, { spec, unit, values: decodeValues(spec, unit) }];
    }),
  );
}

/** Whether a binding is large and read once per call: copies of it take turns, so that caches do not hold it. */
export function isStreamed(name: string, spec: BindingSpec): boolean {
  const large = (spec.weight === true && spec.dims.length === 2) || isCache(name);
  return large && spec.use === 'in';
}

function isCache(name: string): boolean {
  return name === 'k_cache' || name === 'v_cache';
}

function givenValues<P>(
  kernel: AnyKernel,
  p: P,
  spread: Spread,
  random: () => number,
): Readonly<Record<string, Values>> {
  const choices = expertChoices(p, spread);
  if (choices?.tiles !== undefined) return groupPairs({ ...choices, ...choices.tiles }, choices.expertOf);
  const { example } = p as Partial<AttentionParams>;
  // The attention kernels' own inputs write every element of the cache, which takes minutes at these sizes.
  if (kernel.name.startsWith('mfa_') && example !== undefined) {
    return { places: placesArray(example), page_table: scatteredPages(example, random).table };
  }
  // So do those of the probe that reads a gigabyte.
  if (PROBES.includes(kernel)) return {};
  const given = kernel.inputs?.(p, random) ?? {};
  return choices === undefined ? given : { ...given, router_logits: evenLogits(choices, random) };
}

/** Choices of experts that a call depends on. */
interface ExpertChoices {
  readonly experts: number;
  readonly topK: number;
  readonly pairs: number;
  /** Expert of each pair. */
  readonly expertOf: (pair: number) => number;
  /** Tiles that pairs are grouped into; undefined where they are found from router logits. */
  readonly tiles: Pick<Grouping, 'tile' | 'maxTiles'> | undefined;
  /** Distinct experts among all, as the declared costs expect them. */
  readonly expected: number;
}

/** The choices that a call's weights depend on; undefined for calls without experts. */
function expertChoices(p: unknown, spread: Spread): ExpertChoices | undefined {
  const { source, tokens, tile } = p as LinearParams;
  const routing = source?.kind === 'routed' ? source.routing : (p as Partial<ExpertsDownParams>).routing;
  if (routing !== undefined) {
    const { experts, topK } = routing;
    const pairs = source === undefined ? tokens * topK : chosenPairs(p as LinearParams);
    const expected = distinctExperts(routing, pairs / topK);
    return { experts, topK, pairs, expertOf: evenly(experts), tiles: undefined, expected };
  }
  if (source?.kind !== 'grouped') return undefined;
  const { experts, perX, maxTiles } = source;
  const expected = experts * (1 - (1 - 1 / experts) ** tokens);
  const expertOf = spread === 'even' ? evenly(experts) : drawn(experts, perX, tokens);
  return { experts, topK: perX, pairs: tokens, expertOf, tiles: { tile, maxTiles }, expected };
}

/** Steps of about a quarter visit all experts, and so those of any shard, different ones for the choices of a token. */
function evenly(experts: number): (pair: number) => number {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
  let step = Math.floor(experts / 4) + 1;
  while (divisor(step, experts) !== 1) step++;
  return (pair) => (pair * step) % experts;
}

/** Of each `topK` pairs different experts at random, always the same ones. */
function drawn(experts: number, topK: number, pairs: number): (pair: number) => number {
  const random = seededRandom(pairs);
  const chosen: number[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    const before = chosen.slice(pair - (pair % topK));
    let expert = Math.floor(random() * experts);
    while (before.includes(expert)) expert = (expert + 1) % experts;
    chosen.push(expert);
  }
  return (pair) => chosen[pair];
}

/** Logits with the chosen experts clearly above the others. */
function evenLogits(choices: ExpertChoices, random: () => number): Float64Array {
  const stride = padRow(choices.experts);
  const tokens = ceilDiv(choices.pairs, choices.topK);
  const logits = Float64Array.from({ length: tokens * stride }, () => -random());
  for (let pair = 0; pair < choices.pairs; pair++) {
    const token = Math.floor(pair / choices.topK);
    logits[token * stride + choices.expertOf(pair)] = 2 - (pair % choices.topK) / 8;
  }
  return logits;
}

/**
 * What one call touches. As declared, except that experts are counted as they are chosen here instead of by
 * expectation.
 */
export function benchCost<P>(kernel: AnyKernel, p: P, spread: Spread): Cost {
  const cost: Cost = kernel.cost(p);
  const choices = expertChoices(p, spread);
  if (choices === undefined) return cost;
  const row = p as Partial<LinearParams> & Pick<LinearParams, 'shard' | 'K' | 'format'>;
  const { shard, K, out } = row;
  const used = new Set<number>();
  let rows = 0;
  for (let pair = 0; pair < choices.pairs; pair++) {
    const expert = choices.expertOf(pair) - shard.expertBegin;
    if (expert < 0 || expert >= shard.expertCount) continue;
    used.add(expert);
    rows++;
  }
  const share = chosenExperts(row) / choices.experts;
  const moreExperts = used.size - choices.expected * share;
  const moreRows = rows - choices.pairs * share;
  // A kernel without `out` adds all results of a token up before it writes.
  const outputs = out === undefined ? 0 : out === 'swiglu' ? shard.rowCount / 2 : shard.rowCount;
  return {
    flops: cost.flops + 2 * moreRows * shard.rowCount * K,
    bytesRead: cost.bytesRead + moreExperts * shard.rowCount * rowBytes(row, K),
    bytesWritten: cost.bytesWritten + moreRows * outputs * 4,
  };
}

/** The bytes that a binding repeats. */
function randomUnit(
  name: string,
  spec: BindingSpec,
  given: Values | undefined,
  random: () => number,
): Uint8Array<ArrayBuffer> {
  const cols = spec.cols ?? spec.dims[spec.dims.length - 1];
  const most = Math.floor((UNIT_BYTES * spec.dims[0]) / bindingBytes(spec));
  const rows = Math.max(1, Math.min(spec.dims[0], most));
  return (
    compressedRows(spec, rows, range(name, spec, cols)[1], random) ??
    encodeBinding(spec, given ?? randomRows(name, spec, random))
  );
}

/** Random values for some rows of a binding that is not compressed weights: whole pages of them where there are enough, padding zero. */
function randomRows(name: string, spec: BindingSpec, random: () => number): Values {
  const stored = spec.dims[spec.dims.length - 1];
  const all = elements(spec.dims) / stored;
  let rows = Math.max(1, Math.min(all, Math.floor((UNIT_BYTES * all) / bindingBytes(spec))));
  const page = isCache(name) ? PAGE * spec.dims[1] : PAGE;
  if (isCache(name)) rows = Math.max(rows, Math.min(all, UNIT_PAGES * page));
  if (isCache(name) || (rows < all && rows > page)) rows = Math.max(page, rows - (rows % page));
  // Four bytes are the least that can be copied.
  if (spec.type !== 'f32' && spec.type !== 'u32' && (rows * stored) % 2 !== 0) rows++;
  const count = rows * stored;
  if (spec.use === 'out') return spec.type === 'u32' ? new Uint32Array(count) : new Float64Array(count);
  if (spec.type === 'u32') return Uint32Array.from({ length: count }, () => random() * 2 ** 32);
  const cols = spec.cols ?? stored;
  const [low, high] = range(name, spec, cols);
  return Float64Array.from({ length: count }, (_, i) =>
    i % stored < cols ? low + random() * (high - low) : 0,
  );
}

/** Weights keep a product's variance, gains lie about 1, softmax statistics are positive, the rest within ±1. */
function range(name: string, spec: BindingSpec, cols: number): [low: number, high: number] {
  if (name === 'part_ml' || (spec.weight === true && spec.dims.length === 1)) return [0.5, 1.5];
  const amplitude = spec.weight === true ? Math.sqrt(3 / cols) : 1;
  return [-amplitude, amplitude];
}
