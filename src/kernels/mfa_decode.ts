/** Attention of grouped query heads, one slice of the context per workgroup: one K/V read for all heads of a group. */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN, type Shape } from './kernel.ts';
import { cacheBinding, kvLibs, kvRowBytes } from './kv_cache.ts';
import {
  cacheRow,
  firstSeen,
  type KvFormat,
  PAGE,
  type PagedCase,
  pageCount,
  placesArray,
  poisonedCache,
  scatteredPages,
} from './paged.ts';
import { contextSlices, OCCUPYING, type Slices, sliceLength, usedSlices } from './slices.ts';

export interface AttentionParams {
  /** Rows of q_rope, and the range of them that this call handles (its partial results start at 0). */
  readonly allTokens: number;
  readonly tokenBegin: number;
  readonly tokens: number;
  /** Query heads, and key/value heads that they share in equal groups: all on one in multi-matrix factorisation. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly D: number;
  readonly kv: KvFormat;
  /** Positions that a query sees, its own included, in a ring of maxPages pages; all before it when absent. */
  readonly window?: number;
  readonly sequences: number;
  readonly maxPages: number;
  readonly pages: number;
  /** Slices of what a query sees, at most; their positions are a multiple of splitLen (see `slices.ts`). */
  readonly splits: number;
  readonly splitLen: number;
  /** Longest context that the call is costed for. */
  readonly context: number;
  /** Places for tests and benchmarks. */
  readonly example?: PagedCase;
}

/** Most heads that one workgroup serves. */
const GROUP = 64;

/** Heads of a workgroup: a multiple of four, at most {@link GROUP}. */
function group(p: AttentionParams): number {
  return Math.min(GROUP, ceilDiv(p.heads / p.kvHeads, 4) * 4);
}

/** Workgroups that share the heads of a slice. */
function headGroups(p: AttentionParams): number {
  return p.kvHeads * ceilDiv(p.heads / p.kvHeads, group(p));
}

/** Most positions that a query of the call sees. */
export function seenPositions(p: AttentionParams): number {
  return Math.min(p.context, p.window ?? p.context);
}

/** Checks shared with mfa_combine. */
export function attentionCheck(kernel: string, p: AttentionParams): void {
  if (p.D < 2 || p.D > 512 || p.D % 2 !== 0)
    throw new KernelError(kernel, `D: expected an even number in 2..512, got ${p.D}`);
  if (p.kvHeads < 1 || p.heads % p.kvHeads !== 0)
    throw new KernelError(kernel, `kvHeads: expected a divisor of ${p.heads} heads, got ${p.kvHeads}`);
  if (p.window !== undefined && p.window < 1)
    throw new KernelError(kernel, `window: expected at least 1, got ${p.window}`);
  if (p.splits < 1 || p.splitLen < 1) {
    throw new KernelError(kernel, `expected splits, splitLen >= 1, got ${p.splits}, ${p.splitLen}`);
  }
  if (p.tokens < 1 || p.tokenBegin + p.tokens > p.allTokens) {
    throw new KernelError(
      kernel,
      `tokens: expected a range within ${p.allTokens}, got ${p.tokenBegin} + ${p.tokens}`,
    );
  }
}

/** Shapes of the partial results, written by mfa_decode and read by mfa_combine. */
export function partialDims(p: AttentionParams): { o: number[]; ml: number[] } {
  return { o: [p.tokens, p.splits, p.heads, padRow(p.D)], ml: [p.tokens, p.splits, p.heads, 2] };
}

export const mfa_decode: Kernel<AttentionParams> = defineKernel<AttentionParams>({
  name: 'mfa_decode',
  summary:
    'attention of query heads over the KV heads that groups of them share, or a window of them; split over the context',
  variants: [PLAIN],
  libs: (p) => [...kvLibs(p.kv), 'lib/positions', 'lib/slices'],
  check: (p) => attentionCheck('mfa_decode', p),
  constants: (p) => ({
    HEADS: p.heads,
    KV_HEADS: p.kvHeads,
    GROUP: group(p),
    D: p.D,
    PAGE,
    WINDOW: p.window ?? 0,
  }),
  uniforms: (p) => ({
    token_begin: p.tokenBegin,
    splits: p.splits,
    split_len: p.splitLen,
    max_pages: p.maxPages,
    scale: p.D ** -0.5,
  }),
  bindings(p) {
    const D8 = padRow(p.D);
    const partial = partialDims(p);
    return {
      places: { type: 'u32', dims: [p.allTokens, 2], use: 'in' },
      page_table: { type: 'u32', dims: [p.sequences, p.maxPages], use: 'in' },
      q_rope: { type: 'f32', dims: [p.allTokens, p.heads, D8], use: 'in' },
      k_cache: cacheBinding(p.kv, p.pages, p.kvHeads, p.D, 'in'),
      v_cache: cacheBinding(p.kv, p.pages, p.kvHeads, p.D, 'in'),
      part_o: { type: 'f32', dims: partial.o, use: 'out' },
      part_ml: { type: 'f32', dims: partial.ml, use: 'out' },
    };
  },
  workgroups: (p) => [p.splits, p.tokens, headGroups(p)],
  reference(p, io) {
    const D8 = padRow(p.D);
    const places = io.u('places');
    const table = io.u('page_table');
    const q = io.f('q_rope');
    const keys = io.f('k_cache');
    const values = io.f('v_cache');
    const o = io.f('part_o');
    const ml = io.f('part_ml');
    for (let local = 0; local < p.tokens; local++) {
      const token = p.tokenBegin + local;
      const [sequence, position] = [places[token * 2], places[token * 2 + 1]];
      const first = firstSeen(position, p.window);
      const length = sliceLength(p, position + 1 - first);
      for (let split = 0; first + split * length <= position; split++) {
        const begin = first + split * length;
        const end = Math.min(begin + length, position + 1);
        const rows = Array.from(
          { length: end - begin },
          (_, j) => cacheRow(table, p.maxPages, sequence, begin + j) * p.kvHeads * D8,
        );
        for (let h = 0; h < p.heads; h++) {
          const at = (token * p.heads + h) * D8;
          const kvAt = Math.floor((h * p.kvHeads) / p.heads) * D8;
          const scores = rows.map((row) => {
            let sum = 0;
            for (let i = 0; i < p.D; i++) sum += q[at + i] * keys[row + kvAt + i];
            return sum * p.D ** -0.5;
          });
          const max = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
          const out = (local * p.splits + split) * p.heads + h;
          let total = 0;
          o.fill(0, out * D8, (out + 1) * D8);
          scores.forEach((score, j) => {
            const weight = Math.exp(score - max);
            total += weight;
            for (let i = 0; i < p.D; i++) o[out * D8 + i] += weight * values[rows[j] + kvAt + i];
          });
          ml[out * 2] = max;
          ml[out * 2 + 1] = total;
        }
      }
    }
  },
  cost(p) {
    const seen = seenPositions(p);
    return {
      flops: p.tokens * seen * p.heads * p.D * 4, // QKᵀ and PV, 2 each
      bytesRead:
        p.tokens * seen * 2 * kvRowBytes(p.kv, p.D) * headGroups(p) + // K and V rows, once per group of heads
        p.tokens * p.heads * p.D * 4, // q
      bytesWritten: p.tokens * usedSlices(p, seen) * p.heads * (p.D + 2) * 4, // partial results
    };
  },
  tolerance: { abs: 1e-4, rel: 2e-5, cosine: 1e-9 },
  inputs(p, random) {
    const example = p.example ?? { places: [], sequences: 0, maxPages: 0 };
    const { table, pages } = scatteredPages(example, random);
    return {
      places: placesArray(example),
      page_table: table,
      k_cache: poisonedCache(example, table, pages, p.D, p.kvHeads, random),
      v_cache: poisonedCache(example, table, pages, p.D, p.kvHeads, random),
    };
  },
  shapes: {
    test: [...attentionShapes(), ...uncoveredShapes()],
    bench: (['f16', 'fp8'] as const).flatMap((kv) => [...attentionBench(kv), ...groupedBench(kv)]),
  },
});

/** Test shapes of both attention kernels, named after the edge they hit. */
export function attentionShapes(): { name: string; params: AttentionParams }[] {
  return [
    { name: 'context of one', params: attentionCase(4, 16, 'f32', 1, 64, [[0, 0]]) },
    { name: 'one under a tile', params: attentionCase(4, 16, 'f32', 1, 64, [[0, 30]]) },
    { name: 'exactly one tile', params: attentionCase(4, 16, 'f16', 1, 64, [[0, 31]]) },
    { name: 'one over a tile', params: attentionCase(4, 16, 'f32', 1, 64, [[0, 32]]) },
    { name: 'one over a page and a split', params: attentionCase(8, 64, 'f16', 3, 64, [[0, 64]]) },
    { name: 'one under a split', params: attentionCase(8, 64, 'f32', 2, 64, [[0, 62]]) },
    { name: 'odd heads, head_dim 6', params: attentionCase(3, 6, 'f32', 2, 64, [[0, 70]]) },
    { name: 'odd heads, head_dim 10, f16', params: attentionCase(7, 10, 'f16', 1, 128, [[0, 99]]) },
    { name: 'head_dim 512', params: attentionCase(5, 512, 'f32', 1, 64, [[0, 40]]) },
    { name: '64 heads of 256', params: attentionCase(64, 256, 'f16', 2, 96, [[0, 150]]) },
    { name: '64 heads of 256, fp8', params: attentionCase(64, 256, 'fp8', 2, 96, [[0, 150]]) },
    { name: 'more heads than a group', params: attentionCase(70, 8, 'f32', 1, 64, [[0, 33]]) },
    {
      name: 'ragged: four sequences, one with two tokens',
      params: attentionCase(4, 32, 'f32', 4, 64, [
        [2, 199],
        [0, 0],
        [1, 63],
        [3, 64],
        [3, 65],
      ]),
    },
    {
      name: 'tokens 1..2 of 4',
      params: {
        ...attentionCase(4, 16, 'f32', 2, 64, [
          [0, 10],
          [0, 80],
          [1, 127],
          [1, 3],
        ]),
        tokenBegin: 1,
        tokens: 2,
      },
    },
    { name: '8 heads on 2 KV heads', params: groupedHeads(8, 2, 16, 'f32', 2, 64, [[0, 70]]) },
    { name: '24 heads on 3 KV heads, fp8', params: groupedHeads(24, 3, 32, 'fp8', 3, 64, [[0, 130]]) },
    { name: '24 heads on 2 KV heads, f16', params: groupedHeads(24, 2, 32, 'f16', 1, 128, [[0, 99]]) },
    { name: 'a head per KV head, head_dim 10', params: groupedHeads(3, 3, 10, 'f32', 1, 64, [[0, 33]]) },
    { name: 'more heads per KV head than a group', params: groupedHeads(132, 2, 8, 'f32', 1, 64, [[0, 40]]) },
    {
      name: 'window of 5, before and after it is full',
      params: groupedHeads(
        6,
        2,
        16,
        'f32',
        1,
        64,
        [
          [0, 0],
          [1, 3],
          [2, 4],
          [3, 5],
          [4, 200],
        ],
        { window: 5, maxPages: 4 },
      ),
    },
    {
      name: 'window of 100 in a ring of 3 pages, two splits, three tokens of a sequence',
      params: groupedHeads(
        12,
        1,
        32,
        'f16',
        2,
        64,
        [
          [0, 500],
          [0, 501],
          [0, 502],
          [1, 98],
        ],
        { window: 100, maxPages: 3 },
      ),
    },
    { name: 'context of 65,536', params: attentionCase(4, 8, 'f16', 64, 1024, [[0, 65535]]) },
  ];
}

/** Shapes whose slices are longer than splitLen, each token's according to what it sees. */
export function uncoveredShapes(): Shape<AttentionParams>[] {
  const places = [
    [0, 150],
    [1, 40],
    [2, 0],
    [3, 63],
    [4, 64],
  ] as const;
  const window = { window: 100, maxPages: 3 };
  return [
    { name: 'slices by what each token sees', params: attentionCase(6, 16, 'f16', 2, 32, places) },
    {
      name: 'slices by what each token sees of its window',
      params: groupedHeads(6, 2, 16, 'f32', 2, 32, places, window),
    },
  ];
}

/** Benchmark shapes of attention: full batches at one context, cut as plans do it to occupy so many `workgroups`. */
export function attentionBench(
  kv: KvFormat = 'f16',
  workgroups: number = OCCUPYING.plain,
): Shape<AttentionParams>[] {
  const shape = (heads: number, batch: number, context: number, set: 'real' | 'small') => ({
    ...batchShape({ heads, kvHeads: 1, D: 256, kv, batch, context }, (seen) =>
      contextSlices(seen, batch, workgroups),
    ),
    set,
  });
  return [
    shape(64, 1, 4096, 'real'),
    shape(64, 1, 32768, 'real'),
    shape(64, 1, 65536, 'real'),
    shape(64, 8, 8192, 'real'),
    shape(64, 64, 8192, 'real'),
    shape(64, 64, 32768, 'real'),
    shape(64, 256, 1024, 'real'),
    shape(8, 1, 1024, 'small'),
    shape(8, 4, 1024, 'small'),
  ];
}

/** The same for layers of Step-3.5-Flash, full and sliding. */
export function groupedBench(kv: KvFormat = 'f16'): Shape<AttentionParams>[] {
  const shape = (batch: number, context: number, window?: number): Shape<AttentionParams> =>
    batchShape(
      { heads: window === undefined ? 64 : 96, kvHeads: 8, D: 128, kv, batch, context, window },
      (seen) => contextSlices(seen, batch * 8, OCCUPYING.plain),
    );
  return [shape(1, 4096), shape(1, 32768), shape(64, 8192), shape(1, 4096, 512), shape(64, 8192, 512)];
}

/** What {@link batchShape} is made of. */
interface BatchShape extends Pick<AttentionParams, 'heads' | 'kvHeads' | 'D' | 'kv'> {
  readonly batch: number;
  readonly context: number;
  readonly window?: number | undefined;
}

/** A benchmark shape: a full batch at one context, or a window of it, in slices of what a query sees as `cut` gives them. */
export function batchShape(
  { heads, kvHeads, D, kv, batch, context, window }: BatchShape,
  cut: (seen: number) => Slices,
): Shape<AttentionParams> {
  const { splits, splitLen } = cut(Math.min(context, window ?? context));
  const places = Array.from({ length: batch }, (_, s) => [s, context - 1] as const);
  const ring = window === undefined ? undefined : { window, maxPages: ceilDiv(window, PAGE) };
  const shared = kvHeads === 1 ? '' : ` on ${kvHeads} KV heads`;
  // The usual format of the cache does not show.
  const rest = `${ring ? `, window ${window}` : ''}${kv === 'f16' ? '' : `, ${kv}`}`;
  return {
    name: `${heads} heads${shared} of ${D}, batch ${batch}, context ${context}${rest}`,
    params: groupedHeads(heads, kvHeads, D, kv, splits, splitLen, places, ring),
    set: 'real',
  };
}

/** An attention call over seeded places and scattered pages, for test and benchmark lists. */
export function attentionCase(
  heads: number,
  D: number,
  kv: KvFormat,
  splits: number,
  splitLen: number,
  places: PagedCase['places'],
): AttentionParams {
  return groupedHeads(heads, 1, D, kv, splits, splitLen, places);
}

/** The same with several KV heads, and a window in a ring of pages if `ring` is given. */
export function groupedHeads(
  heads: number,
  kvHeads: number,
  D: number,
  kv: KvFormat,
  splits: number,
  splitLen: number,
  places: PagedCase['places'],
  ring?: { readonly window: number; readonly maxPages: number },
): AttentionParams {
  const context = Math.max(...places.map((place) => place[1])) + 1;
  const example = {
    places,
    sequences: Math.max(...places.map((place) => place[0])) + 1,
    maxPages: ceilDiv(context, PAGE),
    ...ring,
  };
  return {
    allTokens: places.length,
    tokenBegin: 0,
    tokens: places.length,
    heads,
    kvHeads,
    D,
    kv,
    ...(ring === undefined ? {} : { window: ring.window }),
    sequences: example.sequences,
    maxPages: example.maxPages,
    pages: pageCount(example),
    splits,
    splitLen: splitLen === 0 ? ceilDiv(context, splits) : splitLen,
    context,
    example,
  };
}
