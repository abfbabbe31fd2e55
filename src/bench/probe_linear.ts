/** Probes of the linear kernels. */

import type { Heat } from '../cost/calibration.ts';
import { isPlain, type RowFormat } from '../formats/index.ts';
import { dense, grouped } from '../kernels/linear.ts';
import { routed } from '../kernels/linear_cases.ts';
import { matmul } from '../kernels/matmul.ts';
import { matmul_join } from '../kernels/matmul_join.ts';
import { matmul_matrix } from '../kernels/matmul_matrix.ts';
import { matvec } from '../kernels/matvec.ts';
import { matvec_rows } from '../kernels/matvec_rows.ts';
import { matvec_units } from '../kernels/matvec_units.ts';
import { moe_down } from '../kernels/moe_down.ts';
import { ceilDiv, type WeightFormat } from '../tensor.ts';
import { CACHED, COLD, type ProbeShape, probe, type Some } from './probe_shape.ts';

/** What is always probed; f16 and f32 weights share its laws. */
export const PROBED: RowFormat = { format: 'bf16' };

/** Columns that share a scale in probes of `fp8` and `int4`. */
const GROUP = 128;

/** Rows of a format, as they are probed. */
export function probedRows(format: WeightFormat): RowFormat {
  return format === 'fp8' || format === 'int4' ? { format, group: GROUP } : { format };
}

/** How a format shows in the name of a probe. */
const label = ({ format }: RowFormat) => (format === PROBED.format ? '' : `, ${format}`);

/** Columns of compressed rows come in blocks, of 256 at most. */
const columns = (K: number, { format }: RowFormat) => (isPlain(format) ? K : ceilDiv(K, 256) * 256);

/** The kernel of a tile of 1, 2 or 4 rows: compressed weights have their own for one and two. */
const few = (tile: number, { format }: RowFormat) => (tile > 2 || isPlain(format) ? matvec : matvec_units);

/** `[N, K]`, norm, heat. Deep and few, shallow and many, small and large. */
const MATVEC: readonly (readonly [N: number, K: number, norm: boolean, heat: Heat])[] = [
  [208, 416, true, COLD],
  [1744, 416, false, COLD],
  [5872, 416, true, COLD],
  [80, 1664, true, COLD],
  [1744, 1664, true, COLD],
  [5872, 1664, true, COLD],
  [208, 416, true, CACHED],
  [1744, 416, false, CACHED],
  [80, 3328, true, COLD],
  [1744, 3328, true, COLD],
  [3392, 13312, false, COLD],
  [5872, 3328, false, COLD],
  [11776, 3328, true, COLD],
  [30208, 416, true, COLD],
  [30208, 3328, true, COLD],
  [1744, 3328, true, CACHED],
  [5872, 1664, true, CACHED],
  [60032, 832, true, COLD],
  [20480, 832, false, COLD],
  [11776, 832, true, COLD],
  [30208, 6656, true, COLD],
  [60032, 6656, false, COLD],
];

export function matvecProbes(row: RowFormat, tile: number, some: Some): ProbeShape[] {
  return some(MATVEC, 8)
    .map(([N, K, norm, heat]) =>
      probe(
        few(tile, row),
        `${N}x${columns(K, row)}${norm ? ' norm' : ''}, ${tile} tokens${label(row)}`,
        dense(N, columns(K, row), tile, { ...row, tile, norm: norm ? 'rms' : 'none' }),
        heat,
      ),
    )
    .concat(
      tile < 4
        ? []
        : (
            [
              [80, 1664, 13, 'rms'],
              [1744, 416, 13, 'none'],
              [1744, 1664, 16, 'rms'],
            ] as const
          ).map(([N, K, tokens, norm]) =>
            probe(
              matvec,
              `${N}x${columns(K, row)}, ${tokens} tokens${label(row)}`,
              dense(N, columns(K, row), tokens, { ...row, tile, norm }),
            ),
          ),
    );
}

/** `[N, K]`, norm, tokens: what one round of workgroups has, several, and less than one, with as many blocks, and turns, as in plans. */
const ROWS: readonly (readonly [N: number, K: number, norm: boolean, tokens: readonly (1 | 2 | 4)[]])[] = [
  [11776, 1664, true, [1, 2, 4]],
  [20480, 1664, true, [1]],
  [30208, 1664, false, [1, 2, 4]],
  [60032, 1664, true, [1, 4]],
  [5872, 3328, true, [4]],
  [11776, 3328, true, [2, 4]],
  [30208, 3328, true, [2, 4]],
  [60032, 3328, true, [4]],
  [3392, 6656, false, [1, 2, 4]],
  [11776, 6656, true, [1, 2]],
  [30208, 6656, true, [1, 2]],
  [60032, 6656, true, [1, 2]],
  [3392, 13312, false, [1, 2]],
  [5872, 13312, false, [1, 2, 4]],
  [11776, 13312, true, [1]],
  [11776, 13312, false, [4]],
  [5872, 15616, false, [1]],
  [3392, 17920, false, [1, 2, 4]],
];

export function rowsProbes(): ProbeShape[] {
  return ([1, 2, 4] as const).flatMap((tile) =>
    ROWS.filter(([, , , tokens]) => tokens.includes(tile)).map(([N, K, norm]) =>
      probe(
        matvec_rows,
        `${N}x${K}${norm ? ' norm' : ''}${tile > 1 ? `, ${tile} tokens` : ''}`,
        dense(N, K, tile, { tile, norm: norm ? 'rms' : 'none' }),
      ),
    ),
  );
}

export function routedProbes(row: RowFormat, some: Some): ProbeShape[] {
  type Shape = readonly [N: number, K: number, tokens: number, heat?: Heat, experts?: number];
  const call = ([N, K, tokens, heat, experts = 24]: Shape) =>
    probe(
      few(1, row),
      `${experts} experts ${N}x${columns(K, row)}, ${tokens} tokens${label(row)}`,
      routed({ experts, topK: tokens > 1 ? 1 : 3, renormalise: false }, N, columns(K, row), tokens, {
        ...row,
        ...{ norm: 'rms', out: 'swiglu' },
      }),
      heat,
    );
  const shapes: readonly Shape[] = [
    [208, 416, 1],
    [1744, 416, 1],
    [208, 416, 4],
    [592, 1664, 1, COLD, 64],
    [208, 416, 1, CACHED],
    [592, 416, 1, CACHED],
    [1744, 1664, 1],
    [592, 416, 1],
    [1744, 416, 4],
    [208, 416, 1, COLD, 200],
    [1744, 1664, 4, COLD, 200],
    [1744, 3328, 1],
    [1744, 3328, 4, COLD, 64],
    [5872, 1664, 1],
    [5872, 1664, 4],
    [592, 416, 4, CACHED],
    [1744, 832, 4, COLD, 40],
    [5872, 6656, 1, COLD, 12],
    [5872, 6656, 4, COLD, 12],
  ];
  return some(shapes, 6).map(call);
}

export function groupedMatvecProbes(row: RowFormat, some: Some): ProbeShape[] {
  const call = (
    tile: number,
    N: number,
    K: number,
    pairs: number,
    norm: boolean,
    heat: Heat = COLD,
    experts = 12,
  ) =>
    probe(
      few(tile, row),
      `${experts} experts ${N}x${columns(K, row)}, ${pairs} pairs in ${tile}s${label(row)}`,
      grouped(experts, N, columns(K, row), pairs, norm ? 3 : 1, tile, {
        ...row,
        norm: norm ? 'rms' : 'none',
      }),
      heat,
    );
  // Where experts are of several formats, all have the tiles of one.
  return [1, 2, 4].flatMap((tile) =>
    some(
      [
        call(tile, 208, 416, 12, true),
        call(tile, 592, 416, tile * 12, true),
        call(tile, 1744, 416, 12, true),
        call(tile, 1744, 416, tile * 6, false),
        call(tile, 208, 416, 24, true, CACHED),
        call(tile, 592, 1664, tile * 6, false),
        call(tile, 1744, 3328, 12, true),
        call(tile, 5872, 3328, tile * 12, false),
        call(tile, 592, 416, 24, false, CACHED),
        call(tile, 1744, 832, tile * 40, true, COLD, 40),
        call(tile, 592, 832, tile * 40, false, COLD, 40),
        call(tile, 1744, 416, 40, true, COLD, 40),
      ],
      6,
    ),
  );
}

export function matmulProbes(row: RowFormat, some: Some): ProbeShape[] {
  const call = (N: number, K: number, tokens: number) =>
    probe(
      matmul,
      `${N}x${columns(K, row)}, ${tokens} tokens${label(row)}`,
      dense(N, columns(K, row), tokens, { ...row, tile: 64 }),
    );
  const experts = (N: number, K: number, pairs: number) =>
    probe(
      matmul,
      `6 experts ${N}x${columns(K, row)}, ${pairs} pairs${label(row)}`,
      grouped(6, N, columns(K, row), pairs, 1, 64, row),
    );
  return [
    ...some(
      [
        ...[call(80, 208, 40), call(592, 208, 64), call(592, 208, 200), call(80, 1664, 40)],
        ...[call(1744, 1664, 40), call(1744, 3328, 64), call(5872, 3328, 64), call(30208, 1664, 40)],
        ...[call(11776, 3328, 200), call(592, 13312, 64)],
      ],
      5,
    ),
    ...some(
      [
        ...[experts(80, 208, 60), experts(592, 208, 120), experts(592, 208, 60), experts(592, 832, 60)],
        ...[experts(1744, 3328, 300), experts(5872, 1664, 300), experts(1744, 416, 600)],
      ],
      4,
    ),
  ];
}

export function matrixProbes(row: RowFormat): ProbeShape[] {
  const call = (tile: number, N: number, K: number, tokens: number, heat: Heat = COLD) =>
    probe(
      matmul_matrix,
      `${N}x${columns(K, row)}, ${tokens} tokens${label(row)}`,
      dense(N, columns(K, row), tokens, { ...row, tile }),
      heat,
    );
  const experts = (tile: number, N: number, K: number, pairs: number) =>
    probe(
      matmul_matrix,
      `12 experts ${N}x${columns(K, row)}, ${pairs} pairs in ${tile}s${label(row)}`,
      grouped(12, N, columns(K, row), pairs, 1, tile, row),
    );
  const split = (tile: number, N: number, K: number, tokens: number, from: number, parts: number) =>
    [matmul_matrix, matmul_join].map((kernel) =>
      probe(
        kernel,
        `${N}x${columns(K, row)}, ${tokens} tokens, rows from ${from} in ${parts} parts${label(row)}`,
        dense(N, columns(K, row), tokens, { ...row, tile, splitK: { from, parts } }),
      ),
    );
  // How a workgroup is laid out depends on N: of 16 tokens below 6,000, 12,000 and 20,000, and above; of more, on the number of
  // tiles.
  return [
    ...[call(16, 240, 3328, 13), call(16, 1744, 416, 16), call(16, 1744, 3328, 16)],
    ...[call(16, 3392, 1664, 7), call(16, 3392, 13312, 16), call(16, 1744, 3328, 16, CACHED)],
    ...[
      call(16, 4400, 416, 16),
      call(16, 4400, 3328, 7),
      call(16, 7600, 1664, 16),
      call(16, 7600, 13312, 16),
    ],
    ...[call(16, 6400, 416, 16), call(16, 6400, 3328, 7), call(16, 11776, 1664, 13)],
    ...[call(16, 4400, 1664, 16, CACHED), call(16, 6400, 1664, 16, CACHED)],
    ...[call(16, 12400, 416, 16), call(16, 12400, 1664, 13), call(16, 16944, 3328, 16)],
    ...[call(16, 16944, 6656, 7), call(16, 12400, 416, 16, CACHED)],
    ...[call(16, 20480, 416, 16), call(16, 20480, 3328, 7), call(16, 30208, 1664, 13)],
    ...[call(16, 30208, 6656, 16), call(16, 60032, 3328, 16), call(16, 20480, 416, 16, CACHED)],
    ...[call(64, 240, 416, 40), call(64, 240, 3328, 64), call(64, 1744, 1664, 64)],
    ...[call(64, 3392, 6656, 64), call(64, 3392, 1664, 100), call(64, 1744, 416, 64, CACHED)],
    ...[call(64, 5872, 416, 40), call(64, 5872, 3328, 64), call(64, 7600, 13312, 64)],
    ...[call(64, 11776, 3328, 64), call(64, 11776, 1664, 40), call(64, 5872, 416, 64, CACHED)],
    ...[call(64, 20480, 1664, 64), call(64, 30208, 3328, 40), call(64, 30208, 6656, 64)],
    ...[call(64, 60032, 416, 64), call(64, 20480, 416, 64, CACHED), call(64, 11776, 6656, 64)],
    ...[split(64, 1744, 3328, 64, 0, 4), split(64, 11776, 3328, 64, 0, 3)].flat(),
    ...[split(64, 592, 13312, 40, 0, 13), split(128, 1744, 3328, 128, 0, 4)].flat(),
    ...[split(128, 7600, 13312, 128, 0, 4), split(128, 11776, 3328, 300, 5632, 3)].flat(),
    ...[call(128, 240, 3328, 100), call(128, 1744, 416, 128), call(128, 5872, 3328, 128)],
    ...[call(128, 7600, 13312, 128), call(128, 3392, 1664, 300), call(128, 11776, 3328, 200)],
    ...[call(128, 60032, 416, 128), call(128, 30208, 1664, 128), call(128, 20480, 6656, 256)],
    ...[experts(16, 208, 416, 60), experts(16, 1744, 416, 48), experts(16, 1744, 3328, 60)],
    ...[experts(16, 5872, 1664, 48), experts(16, 592, 3328, 240), experts(16, 5872, 3328, 60)],
    experts(16, 5872, 6656, 60),
    ...[experts(64, 208, 416, 300), experts(64, 1744, 416, 600), experts(64, 1744, 3328, 300)],
    ...[experts(64, 5872, 1664, 600), experts(64, 5872, 3328, 300), experts(64, 592, 3328, 600)],
    ...(isPlain(row.format)
      ? [
          ...[experts(8, 208, 416, 40), experts(8, 1744, 416, 48), experts(8, 1744, 3328, 40)],
          ...[experts(8, 5872, 1664, 48), experts(8, 5872, 3328, 40), experts(8, 5872, 6656, 36)],
          ...[experts(96, 592, 3328, 1000), experts(96, 1744, 416, 1000), experts(96, 5872, 1664, 1100)],
        ]
      : [
          ...[call(8, 240, 3328, 8), call(8, 1744, 1664, 7), call(8, 4400, 3328, 8), call(8, 6400, 416, 8)],
          ...[call(8, 7600, 13312, 7), call(8, 11776, 1664, 8), call(8, 1744, 3328, 8, CACHED)],
          ...[call(8, 20480, 416, 8), call(8, 20480, 3328, 7), call(8, 30208, 1664, 8)],
          ...[call(8, 60032, 3328, 8), call(8, 20480, 416, 8, CACHED)],
        ]),
    ...[experts(128, 592, 3328, 1500), experts(128, 1744, 416, 1600), experts(128, 5872, 1664, 1500)],
  ];
}

export function downProbes(row: RowFormat, some: Some): readonly ProbeShape[] {
  const call = (tokens: number, N: number, K: number, shareK: number, heat: Heat = COLD, experts = 24) =>
    probe(
      moe_down,
      `${experts} experts ${N}x${columns(K, row)}, shared ${columns(shareK, row)}, ${tokens} tokens${label(row)}`,
      {
        ...row,
        tokens,
        routing: { experts, topK: tokens > 1 ? 1 : 3, renormalise: false },
        K: columns(K, row),
        shareK: columns(shareK, row),
        N,
        shard: { expertBegin: 0, expertCount: experts, rowBegin: 0, rowCount: N },
        withShare: true,
      },
      heat,
    );
  return some(
    [
      ...[call(1, 208, 80, 208), call(1, 1744, 416, 832), call(1, 208, 80, 208, CACHED)],
      ...[call(1, 592, 416, 832, CACHED), call(4, 208, 80, 208), call(1, 592, 416, 832, COLD, 64)],
      ...[call(1, 592, 416, 832), call(1, 1744, 80, 208), call(4, 592, 416, 832)],
      ...[call(1, 1744, 1664, 832), call(1, 5872, 1664, 1664), call(1, 3392, 3328, 3328)],
      ...[call(4, 1744, 1664, 1664), call(4, 5872, 1664, 1664), call(4, 592, 80, 208, CACHED)],
      ...[call(1, 592, 80, 208, COLD, 200), call(4, 1744, 416, 832, COLD, 200)],
      ...[call(1, 3392, 6656, 6656, COLD, 12), call(4, 3392, 6656, 6656, COLD, 12)],
    ],
    6,
  );
}
