/**
 * The calls that laws are fitted on: for each kernel family, shapes that reach every corner of its law (one workgroup and
 * many, few iterations and many, small and large). None is a shape of a preset; a test checks that.
 */
import { embed_tokens } from '../kernels/embed_tokens.ts';
import { half_rows } from '../kernels/half_rows.ts';
import type { AnyKernel, Capabilities } from '../kernels/kernel.ts';
import { maxTiles } from '../kernels/linear.ts';
import { mfa_combine } from '../kernels/mfa_combine.ts';
import { type AttentionParams, attentionCase, mfa_decode } from '../kernels/mfa_decode.ts';
import { mfa_matrix } from '../kernels/mfa_matrix.ts';
import { moe_combine } from '../kernels/moe_combine.ts';
import { moe_route } from '../kernels/moe_route.ts';
import { rmsnorm } from '../kernels/rmsnorm.ts';
import { rope_cache } from '../kernels/rope_cache.ts';
import { rope_turns } from '../kernels/rope_turns.ts';
import { sample } from '../kernels/sample.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import {
  downProbes,
  groupedMatvecProbes,
  matmulProbes,
  matrixProbes,
  matvecProbes,
  routedProbes,
} from './probe_linear.ts';
import { CACHED, COLD, type ProbeShape, probe, type Some } from './probe_shape.ts';

/**
 * Every probe that the adapter can run, family by family. `brief`: few of them, of few distinct pipelines, for adapters
 * that take long to compile and whose times are simpler.
 */
export function probeShapes(caps: Capabilities, brief: boolean): ProbeShape[] {
  const some: Some = (shapes, few) => (brief ? shapes.slice(0, few) : shapes);
  return [
    ...[1, 2, 4].flatMap((tile) => matvecProbes(tile, some)),
    ...routedProbes(some),
    ...groupedMatvecProbes(some),
    ...(caps.matrixUnits ? [...matrixProbes(), ...matrixAttention()] : matmulProbes()),
    ...plainAttention(some),
    ...combineProbes(some),
    ...downProbes(some),
    ...rowProbes(some),
    ...sampleProbes(some),
  ];
}

/** Slices of one context for a batch. */
function slices(
  heads: number,
  D: number,
  batch: number,
  context: number,
  splitLen: number,
): { name: string; params: AttentionParams } {
  const places = Array.from({ length: batch }, (_, s) => [s, context - 1] as const);
  return {
    name: `${heads} heads of ${D}, batch ${batch}, context ${context} by ${splitLen}`,
    params: attentionCase(heads, D, 'f16', ceilDiv(context, splitLen), splitLen, places),
  };
}

function attention(
  kernel: AnyKernel,
  [heads, D, batch, context, splitLen]: readonly [number, number, number, number, number],
  cached = COLD,
): ProbeShape {
  const { name, params } = slices(heads, D, batch, context, splitLen);
  return probe(kernel, name, params, cached);
}

function matrixAttention(): ProbeShape[] {
  return [
    attention(mfa_matrix, [24, 256, 1, 640, 64]),
    attention(mfa_matrix, [48, 256, 1, 3000, 64]),
    attention(mfa_matrix, [48, 256, 1, 12000, 96]),
    attention(mfa_matrix, [40, 256, 1, 24000, 192]),
    attention(mfa_matrix, [24, 256, 3, 6000, 160]),
    attention(mfa_matrix, [48, 256, 6, 10000, 480]),
    attention(mfa_matrix, [40, 256, 12, 20000, 1888]),
    attention(mfa_matrix, [48, 256, 24, 5000, 960]),
    attention(mfa_matrix, [16, 256, 40, 700, 224]),
    attention(mfa_matrix, [48, 256, 40, 5000, 1600]),
    attention(mfa_matrix, [24, 256, 1, 640, 64], CACHED),
    attention(mfa_matrix, [48, 256, 1, 3000, 64], CACHED),
    attention(mfa_matrix, [24, 256, 3, 3000, 96], CACHED),
  ];
}

function plainAttention(some: Some): ProbeShape[] {
  // Pipelines differ by heads and width.
  const shapes = [
    ...([
      [3, 96, 1, 200, 64],
      [3, 96, 1, 1100, 64],
      [3, 96, 5, 1100, 64],
      [3, 96, 12, 700, 64],
    ] as const),
    ...([
      [3, 208, 1, 700, 64],
      [3, 208, 5, 1100, 64],
      [12, 208, 1, 200, 64],
    ] as const),
    ...([
      [12, 208, 1, 1100, 64],
      [12, 208, 5, 700, 64],
      [12, 208, 12, 700, 64],
    ] as const),
    ...([
      [3, 96, 20, 700, 64],
      [3, 208, 12, 5000, 160],
      [3, 96, 1, 1100, 576],
    ] as const),
    ...([
      [12, 208, 12, 5000, 160],
      [12, 96, 1, 1100, 576],
      [12, 96, 5, 3000, 64],
    ] as const),
    ...([
      [40, 208, 1, 200, 64],
      [40, 208, 1, 1100, 64],
      [40, 208, 5, 1100, 64],
    ] as const),
    ...([
      [40, 208, 12, 700, 64],
      [40, 96, 5, 3000, 64],
      [40, 96, 1, 1100, 576],
    ] as const),
  ];
  const cached = [
    ...([
      [3, 96, 1, 200, 64],
      [3, 96, 5, 1100, 64],
      [12, 208, 1, 700, 64],
      [12, 208, 5, 700, 64],
    ] as const),
  ];
  return [
    ...some(shapes, 10).map((shape) => attention(mfa_decode, shape)),
    ...cached.map((shape) => attention(mfa_decode, shape, CACHED)),
  ];
}

function combineProbes(some: Some): ProbeShape[] {
  const shapes = [
    ...([
      [12, 96, 1, 120, 64],
      [12, 96, 20, 700, 224],
      [40, 208, 3, 700, 224],
      [12, 96, 1, 250, 64],
    ] as const),
    ...([
      [12, 96, 1, 1100, 64],
      [12, 96, 20, 3000, 128],
      [40, 208, 1, 3000, 64],
      [40, 208, 6, 5000, 256],
    ] as const),
    ...([
      [40, 208, 40, 700, 352],
      [40, 208, 1, 190, 64],
    ] as const),
    ...([
      [40, 208, 1, 12000, 96],
      [40, 208, 1, 24000, 192],
    ] as const),
    ...([
      [40, 208, 24, 5000, 960],
      [40, 208, 40, 5000, 800],
    ] as const),
  ];
  return some(shapes, 8).map((shape) => attention(mfa_combine, shape));
}

/** Kernels that handle rows of activations, and others that are small in every model. */
function rowProbes(some: Some): ProbeShape[] {
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
  const routes = some(
    [
      [5, 24, 3],
      [20, 24, 3],
      [100, 24, 3],
      [40, 96, 2],
      [100, 40, 4],
      [300, 24, 2],
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
    ...(
      [
        [1, 48],
        [20, 96],
        [60, 208],
      ] as const
    ).map(([tokens, D]) => {
      const example = {
        places: Array.from({ length: tokens }, (_, s) => [s, 100] as const),
        sequences: tokens,
        maxPages: 2,
      };
      const params = { tokens, D, theta: 500000, sequences: tokens, maxPages: 2, example };
      return probe(rope_turns, `${tokens} tokens, head_dim ${D}`, params);
    }),
    ...(
      [
        [1, 3, 90],
        [20, 12, 90],
        [60, 40, 202],
      ] as const
    ).map(([tokens, heads, D]) =>
      probe(rope_cache, `${tokens} tokens, ${heads} heads of ${D}`, {
        ...{ tokens, heads, D, kAt: 104, kv: 'f16', pages: 4 },
        qkvStride: 104 + 2 * padRow(D),
      }),
    ),
    ...routes.map(([tokens, experts, topK]) =>
      probe(moe_route, `${tokens} tokens, ${topK} of ${experts}`, {
        ...{ experts, topK, renormalise: false, tokens, tile: 4 },
        maxTiles: maxTiles(tokens * topK, experts, 4),
      }),
    ),
  ];
}

/** Rows of one kind: the largest logit, or a draw at temperature 0.8. */
function sampleProbes(some: Some): ProbeShape[] {
  const call = (rows: number, vocab: number, greedy: boolean) => {
    const temperature = new Uint32Array(Float32Array.of(greedy ? 0 : 0.8, 0, 1, 0, 1).buffer);
    const options = Uint32Array.from({ length: rows * 8 }, (_, i) => temperature[i % 8] ?? 0);
    const kernel: AnyKernel = {
      ...sample,
      inputs: (_, random) => ({
        logits: Float64Array.from({ length: rows * padRow(vocab) }, () => random() * 8 - 4),
        row_sequences: Uint32Array.from({ length: rows }, (_, s) => s),
        options,
        seen: new Uint32Array(rows * ceilDiv(vocab, 32)),
        next_places: new Uint32Array(rows * 2),
      }),
    };
    const params = { rows, vocab, logitsStride: padRow(vocab), sequences: rows };
    return probe(kernel, `${rows} rows of ${vocab}, ${greedy ? 'greedy' : 'drawn'}`, params, COLD, greedy);
  };
  const shapes = some(
    [
      [1, 3000],
      [1, 50000],
      [20, 3000],
      [5, 90000],
      [40, 20000],
    ] as const,
    4,
  );
  return [true, false].flatMap((greedy) => shapes.map(([rows, vocab]) => call(rows, vocab, greedy)));
}
