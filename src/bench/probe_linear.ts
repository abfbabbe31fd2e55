/** Probes of the linear kernels. */
import { dense, grouped, type LinearParams } from '../kernels/linear.ts';
import { routed } from '../kernels/linear_cases.ts';
import { matmul } from '../kernels/matmul.ts';
import { matmul_matrix } from '../kernels/matmul_matrix.ts';
import { matvec } from '../kernels/matvec.ts';
import { moe_down } from '../kernels/moe_down.ts';
import { CACHED, COLD, type ProbeShape, probe, type Some } from './probe_shape.ts';

type Format = LinearParams['format'];

/** Formats whose kernel families have probes of their own; those that `formatName` gives no name share those of bf16. */
export const PROBED_FORMATS: readonly Format[] = ['bf16'];

/** How a format shows in the name of a probe. */
const label = (format: Format) => (format === 'bf16' ? '' : `, ${format}`);

/** `[N, K]`, norm, cached. Deep and few, shallow and many, small and large. */
const MATVEC: readonly (readonly [N: number, K: number, norm: boolean, cached: boolean])[] = [
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

export function matvecProbes(format: Format, tile: number, some: Some): ProbeShape[] {
  return some(MATVEC, 8)
    .map(([N, K, norm, cached]) =>
      probe(
        matvec,
        `${N}x${K}${norm ? ' norm' : ''}, ${tile} tokens${label(format)}`,
        dense(N, K, tile, { format, tile, norm: norm ? 'rms' : 'none' }),
        cached,
      ),
    )
    .concat(
      tile < 4
        ? []
        : [
            probe(
              matvec,
              `80x1664, 13 tokens${label(format)}`,
              dense(80, 1664, 13, { format, tile, norm: 'rms' }),
            ),
            probe(matvec, `1744x416, 13 tokens${label(format)}`, dense(1744, 416, 13, { format, tile })),
            probe(
              matvec,
              `1744x1664, 16 tokens${label(format)}`,
              dense(1744, 1664, 16, { format, tile, norm: 'rms' }),
            ),
          ],
    );
}

export function routedProbes(format: Format, some: Some): ProbeShape[] {
  type Shape = readonly [N: number, K: number, tokens: number, cached?: boolean, experts?: number];
  const call = ([N, K, tokens, cached, experts = 24]: Shape) =>
    probe(
      matvec,
      `${experts} experts ${N}x${K}, ${tokens} tokens${label(format)}`,
      routed({ experts, topK: tokens > 1 ? 1 : 3, renormalise: false }, N, K, tokens, {
        ...{ format, norm: 'rms', out: 'swiglu' },
      }),
      cached,
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

export function groupedMatvecProbes(format: Format, some: Some): ProbeShape[] {
  const call = (
    tile: number,
    N: number,
    K: number,
    pairs: number,
    norm: boolean,
    cached = COLD,
    experts = 12,
  ) =>
    probe(
      matvec,
      `${experts} experts ${N}x${K}, ${pairs} pairs in ${tile}s${label(format)}`,
      grouped(experts, N, K, pairs, norm ? 3 : 1, tile, { format, norm: norm ? 'rms' : 'none' }),
      cached,
    );
  return [2, 4].flatMap((tile) =>
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

export function matmulProbes(some: Some): ProbeShape[] {
  const call = (N: number, K: number, tokens: number) =>
    probe(matmul, `${N}x${K}, ${tokens} tokens`, dense(N, K, tokens, { tile: 64 }));
  const experts = (N: number, K: number, pairs: number) =>
    probe(matmul, `6 experts ${N}x${K}, ${pairs} pairs`, grouped(6, N, K, pairs, 1, 64));
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

export function matrixProbes(): ProbeShape[] {
  const call = (tile: number, N: number, K: number, tokens: number, cached = COLD) =>
    probe(matmul_matrix, `${N}x${K}, ${tokens} tokens`, dense(N, K, tokens, { tile }), cached);
  const experts = (tile: number, N: number, K: number, pairs: number) =>
    probe(
      matmul_matrix,
      `12 experts ${N}x${K}, ${pairs} pairs in ${tile}s`,
      grouped(12, N, K, pairs, 1, tile),
    );
  // How a workgroup is laid out depends on N: below 4096, below 20,000, and above.
  return [
    ...[call(16, 240, 3328, 13), call(16, 1744, 416, 16), call(16, 1744, 3328, 16)],
    ...[call(16, 3392, 1664, 7), call(16, 3392, 13312, 16), call(16, 1744, 3328, 16, CACHED)],
    ...[
      call(16, 4400, 416, 16),
      call(16, 4400, 3328, 7),
      call(16, 7600, 1664, 16),
      call(16, 7600, 13312, 16),
    ],
    ...[call(16, 11776, 1664, 13), call(16, 16944, 3328, 16), call(16, 4400, 1664, 16, CACHED)],
    ...[call(16, 20480, 416, 16), call(16, 20480, 3328, 7), call(16, 30208, 1664, 13)],
    ...[call(16, 30208, 6656, 16), call(16, 60032, 3328, 16), call(16, 20480, 416, 16, CACHED)],
    ...[call(64, 240, 416, 40), call(64, 240, 3328, 64), call(64, 1744, 1664, 64)],
    ...[call(64, 3392, 6656, 64), call(64, 3392, 1664, 100), call(64, 1744, 416, 64, CACHED)],
    ...[call(64, 5872, 416, 40), call(64, 5872, 3328, 64), call(64, 7600, 13312, 64)],
    ...[call(64, 11776, 3328, 64), call(64, 11776, 1664, 40), call(64, 5872, 416, 64, CACHED)],
    ...[call(64, 20480, 1664, 64), call(64, 30208, 3328, 40), call(64, 30208, 6656, 64)],
    ...[call(64, 60032, 416, 64), call(64, 20480, 416, 64, CACHED)],
    ...[call(128, 240, 3328, 100), call(128, 1744, 416, 128), call(128, 5872, 3328, 128)],
    ...[call(128, 11776, 3328, 200), call(128, 60032, 416, 128), call(128, 30208, 1664, 128)],
    ...[experts(16, 208, 416, 60), experts(16, 1744, 416, 48), experts(16, 1744, 3328, 60)],
    ...[experts(16, 5872, 1664, 48), experts(16, 592, 3328, 240), experts(16, 5872, 3328, 60)],
    experts(16, 5872, 6656, 60),
    ...[experts(64, 208, 416, 300), experts(64, 1744, 416, 600), experts(64, 1744, 3328, 300)],
    ...[experts(64, 5872, 1664, 600), experts(64, 5872, 3328, 300), experts(64, 592, 3328, 600)],
    ...[experts(128, 592, 3328, 1500), experts(128, 1744, 416, 1600), experts(128, 5872, 1664, 1500)],
  ];
}

export function downProbes(format: Format, some: Some): readonly ProbeShape[] {
  const call = (tokens: number, N: number, K: number, shareK: number, cached = COLD, experts = 24) =>
    probe(
      moe_down,
      `${experts} experts ${N}x${K}, shared ${shareK}, ${tokens} tokens${label(format)}`,
      {
        format,
        tokens,
        routing: { experts, topK: tokens > 1 ? 1 : 3, renormalise: false },
        K,
        shareK,
        N,
        shard: { expertBegin: 0, expertCount: experts, rowBegin: 0, rowCount: N },
        withShare: true,
      },
      cached,
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
