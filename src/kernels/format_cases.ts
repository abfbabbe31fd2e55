/** Shapes of linear layers in compressed formats, for test and benchmark lists. */
import { BLOCK_FORMATS } from '../formats/blocks.ts';
import type { RowFormat } from '../formats/index.ts';
import type { WeightFormat } from '../tensor.ts';
import type { Shape } from './kernel.ts';
import { dense, grouped, type LinearParams } from './linear.ts';
import { fusedQkv, queryHeads, routed, routedAndShared } from './linear_cases.ts';

/** A format with widths that it allows: one that is small and, where it may be, no multiple of anything. */
export interface FormatCase extends RowFormat {
  readonly name: string;
  readonly K: number;
}

const BLOCKS: readonly FormatCase[] = Object.entries(BLOCK_FORMATS).map(([name, { cols }]) => ({
  name,
  format: name as WeightFormat,
  K: cols === 256 ? 512 : 352,
}));

const GROUPS: readonly FormatCase[] = [
  { name: 'fp8', format: 'fp8', group: 128, K: 205 },
  { name: 'fp8, whole groups', format: 'fp8', group: 128, K: 1024 },
  { name: 'int4, groups of 32', format: 'int4', group: 32, K: 352 },
  { name: 'int4, groups of 128', format: 'int4', group: 128, K: 384 },
  { name: 'int4, one group a row', format: 'int4', group: 72, K: 72 },
];

/** Every compressed format. */
export const FORMAT_CASES: readonly FormatCase[] = [...BLOCKS, ...GROUPS];

/** One format of each way to scale: their shapes are tested in every way. */
export const MAIN_FORMATS: readonly FormatCase[] = FORMAT_CASES.filter(({ name }) =>
  ['q4_k', 'q6_k', 'fp8', 'int4, groups of 32'].includes(name),
);

/** One format whose integers choose among levels. */
export const LEVEL_FORMATS: readonly FormatCase[] = FORMAT_CASES.filter(({ name }) => name === 'iq4_nl');

const rowOf = ({ format, group }: FormatCase): RowFormat =>
  group === undefined ? { format } : { format, group };

/** Every format once, with 70 rows, for `tokens` tokens in tiles of `tile`. */
export function formatShapes(tokens: number, tile: number): Shape<LinearParams>[] {
  return FORMAT_CASES.map((c) => ({
    name: c.name,
    params: dense(70, c.K, tokens, { tile, ...rowOf(c) }),
    once: true,
  }));
}

/** The main formats with what matvec folds in. */
export function formatVariants(): Shape<LinearParams>[] {
  return MAIN_FORMATS.flatMap((c) => [
    { name: `${c.name}, norm, tile of 2`, params: dense(21, c.K, 3, { tile: 2, norm: 'rms', ...rowOf(c) }) },
    {
      name: `${c.name}, residual, tile of 4`,
      params: dense(21, c.K, 7, { tile: 4, out: 'add', ...rowOf(c) }),
      once: true,
    },
    {
      name: `${c.name}, experts 1..3 of 5, pairs in, two buffers`,
      params: grouped(5, 24, c.K, 12, 1, 4, {
        shard: { expertBegin: 1, expertCount: 3, rowBegin: 0, rowCount: 24 },
        buffers: [2, 1],
        ...rowOf(c),
      }),
      once: true,
    },
  ]);
}

/** Shapes of matvec_units: few and many units for an invocation, few and many rows, and everything that it folds in. */
export function unitShapes(): Shape<LinearParams>[] {
  const int4 = { format: 'int4', group: 32 } as const;
  const fp8 = { format: 'fp8', group: 128 } as const;
  const shape = (name: string, params: LinearParams, once = false) => ({ name, params, once });
  return [
    shape('one row, less than a unit', dense(1, 3, 1, { format: 'fp8', group: 128, norm: 'rms' })),
    shape('a unit and a half, norm', dense(9, 48, 2, { format: 'fp8', group: 64, norm: 'rms' })),
    shape('1280 columns, residual', dense(13, 1280, 1, { format: 'q8_0', out: 'add' })),
    shape(
      '7168 columns, norm, swiglu',
      dense(2 * 5, 7168, 1, { format: 'q4_k', norm: 'rms', out: 'swiglu' }),
    ),
    shape('units in two rounds, norm', dense(6, 8224, 1, { ...int4, norm: 'rms' })),
    shape('many rows', dense(70, 72, 1830, { format: 'int4', group: 72, norm: 'rms' })),
    shape('many rows, units in two rounds', dense(21, 8448, 410, { format: 'q6_k' }), true),
    shape('many rows, columns no multiple of 4', dense(37, 205, 1400, { ...fp8, out: 'add' }), true),
    shape('x rows wider than K', dense(10, 96, 3, { format: 'q4_0', xStride: 136 })),
    shape(
      'middle shard of rows',
      dense(48, 64, 2, {
        ...{ format: 'q4_1', norm: 'rms' },
        shard: { expertBegin: 0, expertCount: 1, rowBegin: 16, rowCount: 19 },
      }),
      true,
    ),
    shape('picked rows', dense(17, 512, 3, { format: 'q2_k', source: { kind: 'picked', sourceRows: 9 } })),
    shape('query heads of 16', queryHeads(5, 16, 64, 2, { format: 'q8_0', norm: 'rms' }), true),
    shape('query, key and value', fusedQkv(24, 20, 'f16', 352, 2, { ...int4, norm: 'rms' }), true),
    ...MAIN_FORMATS.flatMap((c) => [
      shape(
        `${c.name}, experts straight from logits, in two buffers, norm`,
        routed({ experts: 5, topK: 2, renormalise: false }, 22, c.K, 3, {
          ...{ out: 'swiglu', norm: 'rms', buffers: [3, 2] },
          ...rowOf(c),
        }),
        c.name !== 'q4_k',
      ),
      shape(
        `${c.name}, experts 1..3 of 5, pairs in`,
        grouped(5, 24, c.K, 12, 1, 1, {
          shard: { expertBegin: 1, expertCount: 3, rowBegin: 0, rowCount: 24 },
          ...rowOf(c),
        }),
        true,
      ),
    ]),
    shape(
      'experts straight from logits, in four buffers',
      routed({ experts: 7, topK: 2, renormalise: false }, 2 * 11, 352, 3, {
        ...{ format: 'q5_1', out: 'swiglu', buffers: [2, 2, 2, 1] },
      }),
      true,
    ),
    shape(
      'experts straight from logits, and the shared one, norm',
      routedAndShared({ experts: 4, topK: 2, renormalise: false }, 90, 22, 352, 2, {
        ...{ format: 'q8_0', out: 'swiglu', norm: 'rms' },
      }),
    ),
    shape(
      'experts in four buffers, and the shared one in a fifth',
      routedAndShared({ experts: 8, topK: 3, renormalise: false }, 9, 12, 512, 1, {
        ...{ format: 'q4_k', buffers: [2, 2, 2, 2, 1] },
      }),
      true,
    ),
    ...[...MAIN_FORMATS.filter(({ format }) => format === 'q4_k' || format === 'fp8'), ...LEVEL_FORMATS].map(
      (c) =>
        shape(
          `${c.name}, tile of 2, norm, residual`,
          dense(37, c.K, 3, { tile: 2, norm: 'rms', out: 'add', ...rowOf(c) }),
          c.name !== 'q4_k',
        ),
    ),
    shape(
      'tile of 2, units in two rounds',
      dense(2 * 13, 8224, 3, { tile: 2, ...int4, norm: 'rms', out: 'swiglu' }),
      true,
    ),
    shape(
      'tile of 2, picked rows, as many rows a workgroup as may be',
      dense(75, 7168, 700, { tile: 2, ...int4, source: { kind: 'picked', sourceRows: 9 } }),
      true,
    ),
    shape(
      'tile of 2, query, key and value',
      fusedQkv(24, 20, 'f16', 352, 4, { tile: 2, ...int4, norm: 'rms' }),
      true,
    ),
    shape(
      'tile of 2, experts 1..3 of 5, pairs in, two buffers',
      grouped(5, 24, 512, 12, 1, 2, {
        shard: { expertBegin: 1, expertCount: 3, rowBegin: 0, rowCount: 24 },
        ...{ format: 'q4_k', buffers: [2, 1] },
      }),
      true,
    ),
    shape('as many rows a workgroup as may be, norm', dense(75, 7168, 500, { ...int4, norm: 'rms' }), true),
  ];
}

/** Shapes of matmul_matrix: every format, every layout of a workgroup, and everything that it folds in. */
export function matrixShapes(): Shape<LinearParams>[] {
  const int4 = { format: 'int4', group: 32 } as const;
  const fp8 = { format: 'fp8', group: 128 } as const;
  return [
    ...formatShapes(20, 16),
    { name: 'fp8, one row, less than a unit', params: dense(1, 3, 1, { tile: 16, ...fp8 }) },
    { name: 'fp8, one over a staged tile', params: dense(17, 257, 17, { tile: 16, ...fp8 }) },
    ...MAIN_FORMATS.flatMap((c) => [
      {
        name: `${c.name}, wide, residual`,
        params: dense(70, c.K, 66, { tile: 64, out: 'add', ...rowOf(c) }),
      },
      { name: `${c.name}, widest`, params: dense(140, c.K, 130, { tile: 128, ...rowOf(c) }) },
      {
        name: `${c.name}, experts 1..3 of 5, pairs in`,
        params: grouped(5, 26, c.K, 60, 1, 64, {
          shard: { expertBegin: 1, expertCount: 3, rowBegin: 0, rowCount: 26 },
          ...rowOf(c),
        }),
      },
    ]),
    { name: 'q4_k, tiles of 8', params: dense(40, 512, 7, { tile: 8, format: 'q4_k' }) },
    { name: 'fp8, tiles of 8, many rows', params: dense(20_010, 205, 3, { tile: 8, out: 'add', ...fp8 }) },
    { name: 'int4, tiles of 8, swiglu', params: dense(2 * 35, 352, 8, { tile: 8, out: 'swiglu', ...int4 }) },
    { name: 'q8_0, rows from 4096', params: dense(4100, 352, 5, { tile: 16, format: 'q8_0' }) },
    { name: 'q5_0, rows from 20000', params: dense(20_010, 96, 3, { tile: 16, format: 'q5_0' }) },
    {
      name: 'int4, wide, rows from 4096',
      params: dense(4100, 72, 20, { tile: 64, format: 'int4', group: 72 }),
    },
    { name: 'q4_k, swiglu', params: dense(2 * 45, 256, 66, { tile: 64, format: 'q4_k', out: 'swiglu' }) },
    {
      name: 'int4, experts, tokens in, swiglu',
      params: grouped(5, 2 * 20, 352, 200, 2, 64, { out: 'swiglu', ...int4 }),
    },
    {
      name: 'q2_k, wide x, picked rows',
      params: dense(20, 256, 9, {
        ...{ tile: 16, format: 'q2_k', xStride: 264, source: { kind: 'picked', sourceRows: 30 } },
      }),
    },
    {
      name: 'q5_k, middle shard of rows',
      params: dense(48, 256, 9, {
        ...{ tile: 16, format: 'q5_k' },
        shard: { expertBegin: 0, expertCount: 1, rowBegin: 16, rowCount: 19 },
      }),
    },
    { name: 'q8_0, query heads of 16', params: queryHeads(3, 16, 96, 20, { tile: 16, format: 'q8_0' }) },
    { name: 'fp8, query, key and value', params: fusedQkv(40, 16, 'f32', 205, 20, { tile: 16, ...fp8 }) },
  ];
}

/** Shapes to time: wide layers and one of few rows, for each format, or those of some names. */
export function formatBench(
  tokens: number,
  tile: number,
  norm: 'none' | 'rms',
  names?: readonly string[],
): Shape<LinearParams>[] {
  const cases = [...BLOCKS, GROUPS[1], GROUPS[2], GROUPS[3]].filter(
    ({ name }) => names?.includes(name) ?? true,
  );
  const more = tokens > 1 ? `, ${tokens} tokens` : '';
  return cases.flatMap((c) => [
    bench(
      `${c.name}, gate/up 36864x7168${more}`,
      dense(36864, 7168, tokens, { tile, norm, out: 'swiglu', ...rowOf(c) }),
    ),
    bench(`${c.name}, down 7168x18432${more}`, dense(7168, 18432, tokens, { tile, out: 'add', ...rowOf(c) })),
    bench(`${c.name}, qkv 2560x7168${more}`, dense(2560, 7168, tokens, { tile, norm, ...rowOf(c) })),
  ]);
}

const bench = (name: string, params: LinearParams): Shape<LinearParams> => ({ name, params, set: 'real' });
