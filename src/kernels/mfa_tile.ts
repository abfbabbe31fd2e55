/** Attention for few tokens on matrix units: 16 heads a workgroup, a slice of the context at once. */
import { KernelError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { attentionCase, batchShape, groupedHeads } from './attention_cases.ts';
import {
  type FreshParams,
  freshBindings,
  freshCheck,
  freshConstants,
  freshCost,
  freshInputs,
  freshIo,
  withFresh,
} from './fresh_heads.ts';
import { gateConstants, gateLib } from './gates.ts';
import { defineKernel, type Kernel, MATRIX_UNITS, type Shape } from './kernel.ts';
import { kvHalfLibs } from './kv_cache.ts';
import type { AttentionParams } from './mfa_decode.ts';
import { mfa_matrix } from './mfa_matrix.ts';
import { fourLibs, mfa_quad, type QuadParams, wholeCheck } from './mfa_quad.ts';
import { PAGE } from './paged.ts';
import { OCCUPYING } from './slices.ts';

/** As of mfa_quad; `fresh`: heads are taken as their projection left them. */
export type TileParams = QuadParams & FreshParams;

/** Query heads of a workgroup: rows of a matrix. */
export const TILE_HEADS = 16;

/** Positions that a workgroup stages at a time. */
export const TILE = 64;

/** head_dims that the text is written for, and the most tiles of a slice, whose keys and values are in registers. */
const MOST_TILES: Readonly<Record<number, number>> = { 64: 4, 128: 4, 256: 2 };

/** Most positions of a slice; 0 for what mfa_tile cannot take. */
export function tileKeys(p: Pick<AttentionParams, 'D' | 'kv'>): number {
  return p.kv === 'f32' ? 0 : TILE * (MOST_TILES[p.D] ?? 0);
}

/** Whether the query heads of a KV head fill half of the rows of a matrix, below which mfa_quad is faster. */
export function fillsTiles(p: Pick<AttentionParams, 'heads' | 'kvHeads'>): boolean {
  return p.heads / p.kvHeads >= TILE_HEADS / 2;
}

/** Workgroups that share a slice. */
function tileGroups(p: Pick<AttentionParams, 'heads' | 'kvHeads'>): number {
  return p.kvHeads * ceilDiv(p.heads / p.kvHeads, TILE_HEADS);
}

/** Positions of the shortest slices of `seen`, in whole tiles, whose workgroups all run side by side; undefined if none do. */
export function abreastLength(
  p: Pick<AttentionParams, 'D' | 'kv' | 'heads' | 'kvHeads' | 'tokens'>,
  seen: number,
): number | undefined {
  const lengths = Array.from({ length: tileKeys(p) / TILE }, (_, i) => (i + 1) * TILE);
  return lengths.find((each) => p.tokens * tileGroups(p) * ceilDiv(seen, each) <= OCCUPYING.ahead);
}

export const mfa_tile: Kernel<TileParams> = defineKernel<TileParams>({
  ...mfa_quad,
  name: 'mfa_tile',
  summary: 'mfa_quad on matrix units, 16 heads a workgroup, which it may norm, rotate and cache itself',
  variants: [MATRIX_UNITS],
  libs: (p) => [
    p.fresh === undefined ? 'lib/tile_ready' : 'lib/tile_fresh',
    ...kvHalfLibs(p.kv, p.fresh !== undefined),
    'lib/positions',
    gateLib(p.gates),
    ...fourLibs(p),
  ],
  check(p) {
    mfa_quad.check({ ...p, half: undefined });
    wholeCheck('mfa_tile', p);
    freshCheck('mfa_tile', p);
    const most = tileKeys(p);
    if (p.splitLen > most)
      throw new KernelError(
        'mfa_tile',
        most === 0
          ? `expected D 64, 128 or 256 and kv f16 or fp8, got ${p.D} and ${p.kv}`
          : `splitLen: expected at most ${most} with D ${p.D}, got ${p.splitLen}`,
      );
  },
  constants: (p) => ({
    HEADS: p.heads,
    KV_HEADS: p.kvHeads,
    D: p.D,
    PAGE,
    WINDOW: p.window ?? 0,
    TILES: ceilDiv(p.splitLen, TILE),
    ...gateConstants(p.gates),
    ...freshConstants(p),
  }),
  bindings: (p) => freshBindings(p, mfa_quad.bindings(p)),
  workgroups: (p) => [p.splits, p.tokens, tileGroups(p)],
  reference: (p, io) => mfa_quad.reference(p, freshIo(p, io)),
  cost: (p) => freshCost(p, mfa_quad.cost(p)),
  inputs: (p, random) => freshInputs(p, mfa_quad.inputs?.(p, random) ?? {}, random),
  // Queries and softmax weights are rounded to binary16.
  tolerance: mfa_matrix.tolerance,
  shapes: {
    test: [
      { name: 'context of one', params: attentionCase(64, 256, 'f16', 1, 64, [[0, 0]]) },
      { name: 'one under a tile', params: attentionCase(64, 256, 'f16', 1, 64, [[0, 62]]) },
      { name: 'one over a tile', params: attentionCase(64, 256, 'f16', 1, 128, [[0, 64]]) },
      { name: 'two slices of 256', params: attentionCase(64, 256, 'f16', 2, 128, [[0, 200]]) },
      { name: 'slices that are no whole tiles', params: attentionCase(16, 256, 'f16', 3, 70, [[0, 150]]) },
      { name: '8 heads on 2 KV heads of 128', params: groupedHeads(8, 2, 128, 'f16', 1, 256, [[0, 250]]) },
      { name: '20 heads of 64', params: attentionCase(20, 64, 'f16', 2, 192, [[0, 300]]) },
      { name: 'fp8, two tiles', params: groupedHeads(64, 8, 128, 'fp8', 2, 128, [[0, 190]]) },
      { name: 'fp8, heads of 256', params: attentionCase(32, 256, 'fp8', 2, 128, [[0, 190]]) },
      {
        name: 'ragged: four sequences, one with two tokens',
        params: attentionCase(16, 256, 'f16', 4, 64, [
          [2, 199],
          [0, 0],
          [1, 63],
          [3, 64],
          [3, 65],
        ]),
      },
      {
        name: 'window of 100 in a ring of 3 pages, two splits, three tokens of a sequence',
        params: groupedHeads(
          12,
          1,
          128,
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
      {
        name: 'whole, gated heads, tokens 1..2 of 3, as f16',
        params: {
          ...groupedHeads(12, 2, 64, 'f16', 1, 256, [
            [0, 7],
            [0, 220],
            [1, 255],
          ]),
          tokenBegin: 1,
          tokens: 2,
          gates: { stride: 40, at: 20 },
          half: true,
        },
      },
      {
        name: 'fresh, context of one',
        params: withFresh(attentionCase(16, 256, 'f16', 1, 64, [[0, 0]]), 256),
      },
      {
        name: 'fresh, several sequences in slices, the last of one position',
        params: withFresh(
          groupedHeads(24, 2, 128, 'f16', 2, 128, [
            [1, 200],
            [0, 128],
            [2, 127],
          ]),
          64,
        ),
      },
      {
        name: 'fresh, fp8, several sequences in slices',
        params: withFresh(
          groupedHeads(24, 2, 128, 'fp8', 2, 128, [
            [1, 200],
            [0, 130],
            [2, 127],
          ]),
          64,
        ),
      },
      {
        name: 'fresh, fp8, 20 heads of 256',
        params: withFresh(attentionCase(20, 256, 'fp8', 1, 64, [[0, 40]]), 256),
      },
      {
        name: 'fresh, more heads than a workgroup has, gated, window of 100 in a ring',
        params: {
          ...withFresh(
            groupedHeads(
              20,
              1,
              64,
              'f16',
              1,
              128,
              [
                [0, 500],
                [1, 98],
                [2, 191],
              ],
              { window: 100, maxPages: 3 },
            ),
            64,
          ),
          gates: { stride: 40, at: 20 },
        },
      },
    ],
    bench: [...tileBench('f16'), ...tileBench('fp8'), ...freshBench('f16'), ...freshBench('fp8')],
  },
});

/** One token with fresh heads, of a whole context and in slices, for benchmark lists. */
function freshBench(kv: 'f16' | 'fp8'): Shape<TileParams>[] {
  const heads = { heads: 64, kvHeads: 8, D: 128, kv, batch: 1 } as const;
  return [
    batchShape({ ...heads, context: 256 }, (seen) => ({ splits: 1, splitLen: seen })),
    batchShape({ ...heads, context: 1024 }, (seen) => ({ splits: ceilDiv(seen, TILE), splitLen: TILE })),
  ].map((shape) => ({ ...shape, name: `${shape.name}, fresh`, params: withFresh(shape.params, 64) }));
}

/** Attention in slices as plans cut it, for benchmark lists. */
function tileBench(kv: 'f16' | 'fp8'): Shape<TileParams>[] {
  const shape = (kvHeads: number, D: number, batch: number, context: number, window?: number) => {
    const heads = window === undefined ? 64 : 96;
    return batchShape({ heads, kvHeads, D, kv, batch, context, window }, (seen) => {
      const length = abreastLength({ D, kv, heads, kvHeads, tokens: batch }, seen) ?? tileKeys({ D, kv });
      return { splits: ceilDiv(seen, length), splitLen: length };
    });
  };
  return [
    ...[256, 1024, 4096].map((context) => shape(1, 256, 1, context)),
    ...[256, 1024, 4096, 32768].map((context) => shape(8, 128, 1, context)),
    shape(8, 128, 64, 8192),
    shape(8, 128, 1, 4096, 512),
    shape(8, 128, 64, 8192, 512),
  ];
}
