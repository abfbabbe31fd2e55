/** Probes of the kernels that handle rows of activations, and of choices of experts and tokens. */
import { embed_tokens } from '../kernels/embed_tokens.ts';
import { half_rows } from '../kernels/half_rows.ts';
import type { AnyKernel } from '../kernels/kernel.ts';
import { maxTiles } from '../kernels/linear.ts';
import { logit_peaks, peaksOf } from '../kernels/logit_peaks.ts';
import type { LogitRowsParams } from '../kernels/logit_rows.ts';
import { moe_combine } from '../kernels/moe_combine.ts';
import { moe_group } from '../kernels/moe_group.ts';
import { moe_route } from '../kernels/moe_route.ts';
import { rmsnorm } from '../kernels/rmsnorm.ts';
import { type SampleParams, sample } from '../kernels/sample.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { COLD, type ProbeShape, probe, type Some } from './probe_shape.ts';

/** Kernels that handle rows of activations, and others that are small in every model. */
export function rowProbes(some: Some): ProbeShape[] {
  const rows = some(
    [
      [5, 416],
      [60, 416],
      [20, 1664],
      [60, 3328],
      [200, 3328],
      [3, 13312],
      [1, 416],
      [1, 3328],
    ] as const,
    3,
  );
  return [
    ...rows.map(([tokens, K]) =>
      probe(rmsnorm, `${tokens} tokens of ${K}`, { tokens, K, xStride: K, eps: 1e-5 }),
    ),
    ...(['none', 'rms'] as const).flatMap((norm) =>
      rows.map(([count, K]) =>
        probe(half_rows, `${count} rows of ${K}, ${norm}`, { rows: count, K, xStride: K, norm, eps: 1e-5 }),
      ),
    ),
    ...rows.map(([tokens, K]) =>
      probe(embed_tokens, `${tokens} tokens of ${K}`, {
        format: 'bf16',
        tokens,
        K,
        rowBegin: 0,
        rowCount: 2000,
      }),
    ),
    ...rows.map(([tokens, K]) => probe(moe_combine, `${tokens} tokens of ${K}`, { tokens, K, topK: 2 })),
  ];
}

/** Choices of experts, and their groups. */
export function routingProbes(some: Some): ProbeShape[] {
  const shapes = some(
    [
      ...([
        [5, 24, 3],
        [100, 24, 3],
        [40, 96, 2],
        [20, 200, 6],
      ] as const),
      ...([
        [100, 40, 4],
        [300, 24, 2],
        [70, 200, 6],
        [2000, 24, 3],
        [100, 400, 8],
      ] as const),
    ],
    4,
  );
  return shapes.flatMap(([tokens, experts, topK]) => {
    const name = `${tokens} tokens, ${topK} of ${experts}`;
    const tile = 4;
    return [
      probe(moe_route, name, { experts, topK, renormalise: false, tokens }),
      probe(moe_group, name, {
        ...{ tokens, experts, topK, tile, maxTiles: maxTiles(tokens * topK, experts, tile) },
      }),
    ];
  });
}

/** Rows of one kind: the largest logit, or a draw at temperature 0.8; large vocabularies with the peaks of their blocks. */
export function sampleProbes(some: Some): ProbeShape[] {
  const values = (p: LogitRowsParams, random: () => number, greedy: boolean) => {
    const temperature = new Uint32Array(Float32Array.of(greedy ? 0 : 0.8, 0, 1, 0, 1).buffer);
    return {
      logits: Float64Array.from({ length: p.rows * p.logitsStride }, () => random() * 8 - 4),
      row_sequences: Uint32Array.from({ length: p.rows }, (_, s) => s),
      options: Uint32Array.from({ length: p.rows * 8 }, (_, i) => temperature[i % 8] ?? 0),
      seen: new Uint32Array(p.rows * ceilDiv(p.vocab, 32)),
    };
  };
  const paramsOf = (rows: number, vocab: number) => ({
    ...{ rows, vocab, logitsStride: padRow(vocab), sequences: rows },
  });
  const call = (rows: number, vocab: number, peaks: boolean, greedy: boolean) => {
    const kernel: AnyKernel = {
      ...sample,
      inputs: (p: SampleParams, random) => {
        const given = values(p, random, greedy);
        const places = { next_places: new Uint32Array(p.rows * 2) };
        return { ...given, ...places, ...(p.peaks ? { peaks: peaksOf(p, given) } : {}) };
      },
    };
    const name = `${rows} rows of ${vocab}, ${peaks ? 'peaks, ' : ''}${greedy ? 'greedy' : 'drawn'}`;
    return probe(kernel, name, { ...paramsOf(rows, vocab), peaks }, COLD, greedy);
  };
  const small = some(
    [
      [1, 3000],
      [1, 15000],
      [20, 3000],
      [5, 15000],
      [40, 9000],
    ] as const,
    4,
  );
  const large = some(
    [
      [1, 20000],
      [1, 90000],
      [20, 20000],
      [5, 60000],
      [40, 90000],
    ] as const,
    3,
  );
  const peaksKernel: AnyKernel = {
    ...logit_peaks,
    inputs: (p: LogitRowsParams, random) => values(p, random, true),
  };
  return [
    ...large.map(([rows, vocab]) => probe(peaksKernel, `${rows} rows of ${vocab}`, paramsOf(rows, vocab))),
    ...[true, false].flatMap((greedy) => [
      ...small.map(([rows, vocab]) => call(rows, vocab, false, greedy)),
      ...large.map(([rows, vocab]) => call(rows, vocab, true, greedy)),
    ]),
  ];
}
