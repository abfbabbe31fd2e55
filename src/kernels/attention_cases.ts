/** Shapes of attention for tests and benchmarks: seeded places, scattered pages. */
import { ceilDiv } from '../tensor.ts';
import type { Shape } from './kernel.ts';
import type { AttentionParams } from './mfa_decode.ts';
import { type KvFormat, PAGE, type PagedCase, pageCount } from './paged.ts';
import { contextSlices, OCCUPYING, type Slices } from './slices.ts';

/** Test shapes of all attention kernels, named after the edge they hit. */
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
