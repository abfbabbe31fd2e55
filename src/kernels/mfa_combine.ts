/** Joins the slices of mfa_decode into attention outputs. */
import { KernelError } from '../errors.ts';
import { padRow } from '../tensor.ts';
import {
  attentionBench,
  attentionCase,
  attentionShapes,
  groupedBench,
  groupedHeads,
  uncoveredShapes,
} from './attention_cases.ts';
import { type GatesAt, gateBindings, gateConstants, gateLib } from './gates.ts';
import { type HalfResults, resultBytes, resultType, stored } from './half_results.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { type AttentionParams, attentionCheck, partialDims, seenPositions } from './mfa_decode.ts';
import { firstSeen, placesArray } from './paged.ts';
import { OCCUPYING, usedSlices } from './slices.ts';

/** `gates` is absent where heads have none. */
export type CombineHeadsParams = AttentionParams & HalfResults & { readonly gates?: GatesAt };

/** @throws KernelError when results are to be binary16 and heads have padding, which matrix units would read. */
export function halfCheck(kernel: string, { half, D }: CombineHeadsParams): void {
  if (half === true && padRow(D) !== D)
    throw new KernelError(kernel, `half: expected D of whole eights, got ${D}`);
}

/** Slices that the query at `position` has results in. */
function usedSplits(p: AttentionParams, position: number): number {
  return usedSlices(p, position + 1 - firstSeen(position, p.window));
}

export const mfa_combine: Kernel<CombineHeadsParams> = defineKernel<CombineHeadsParams>({
  name: 'mfa_combine',
  summary: 'joins the context slices of mfa_decode by their softmax statistics; head-wise gate',
  variants: [PLAIN],
  libs: (p) => [
    gateLib(p.gates),
    'lib/slices',
    ...(p.half === true ? (['lib/attn_half', 'lib/half_four'] as const) : (['lib/attn_f32'] as const)),
  ],
  check(p) {
    attentionCheck('mfa_combine', p);
    halfCheck('mfa_combine', p);
  },
  constants: (p) => ({
    HEADS: p.heads,
    D: p.D,
    WINDOW: p.window ?? 0,
    ...gateConstants(p.gates),
  }),
  uniforms: (p) => ({ token_begin: p.tokenBegin, splits: p.splits, split_len: p.splitLen }),
  bindings(p) {
    const partial = partialDims(p);
    return {
      places: { type: 'u32', dims: [p.allTokens, 2], use: 'in' },
      part_o: { type: 'f32', dims: partial.o, use: 'in' },
      part_ml: { type: 'f32', dims: partial.ml, use: 'in' },
      attn: { type: resultType(p), dims: [p.allTokens, p.heads, padRow(p.D)], use: 'out' },
      ...gateBindings(p.gates, p.allTokens),
    };
  },
  workgroups: (p) => [p.tokens, p.heads, 1],
  reference(p, io) {
    const D8 = padRow(p.D);
    const places = io.u('places');
    const o = io.f('part_o');
    const ml = io.f('part_ml');
    const attn = io.f('attn');
    for (let local = 0; local < p.tokens; local++) {
      const token = p.tokenBegin + local;
      const used = usedSplits(p, places[token * 2 + 1]);
      for (let h = 0; h < p.heads; h++) {
        const parts = Array.from({ length: used }, (_, s) => (local * p.splits + s) * p.heads + h);
        const max = parts.reduce((m, part) => Math.max(m, ml[part * 2]), Number.NEGATIVE_INFINITY);
        const weights = parts.map((part) => Math.exp(ml[part * 2] - max));
        const sum = parts.reduce((total, part, s) => total + weights[s] * ml[part * 2 + 1], 0);
        const gate =
          p.gates === undefined
            ? 1
            : 1 / (1 + Math.exp(-io.f('gates')[token * p.gates.stride + p.gates.at + h]));
        for (let i = 0; i < D8; i++) {
          const out = parts.reduce((total, part, s) => total + weights[s] * o[part * D8 + i], 0);
          attn[(token * p.heads + h) * D8 + i] = stored(p, (out / sum) * gate);
        }
      }
    }
  },
  cost(p) {
    const used = usedSlices(p, seenPositions(p));
    return {
      flops: p.tokens * used * p.heads * p.D * 2, // weight and add every partial result
      bytesRead:
        p.tokens * used * p.heads * (p.D + 2) * 4 + // partial results
        (p.gates === undefined ? 0 : p.tokens * p.heads * 4), // gates
      bytesWritten: p.tokens * p.heads * p.D * resultBytes(p),
    };
  },
  tolerance: { abs: 1e-5, rel: 1e-5, cosine: 1e-9 },
  inputs(p, random) {
    const example = p.example ?? { places: [], sequences: 0, maxPages: 0 };
    const { o, ml } = partialDims(p);
    const [, splits, heads, D8] = o;
    const part_o = new Float64Array(o.reduce((a, b) => a * b)).fill(Number.NaN);
    const part_ml = new Float64Array(ml.reduce((a, b) => a * b)).fill(Number.NaN);
    for (let local = 0; local < p.tokens; local++) {
      const used = usedSplits(p, example.places[p.tokenBegin + local][1]);
      for (let part = local * splits * heads; part < (local * splits + used) * heads; part++) {
        part_ml[part * 2] = random() * 20 - 10;
        part_ml[part * 2 + 1] = 0.5 + random();
        for (let i = 0; i < D8; i++) part_o[part * D8 + i] = random() * 2 - 1;
      }
    }
    return { places: placesArray(example), part_o, part_ml };
  },
  shapes: {
    test: [
      ...attentionShapes(),
      ...uncoveredShapes(),
      {
        name: 'gated heads',
        params: {
          ...attentionCase(6, 16, 'f32', 2, 64, [
            [0, 70],
            [1, 3],
          ]),
          gates: { stride: 40, at: 32 },
        },
      },
      {
        name: 'as f16',
        params: {
          ...groupedHeads(6, 2, 24, 'f32', 3, 64, [
            [0, 150],
            [1, 3],
          ]),
          half: true,
        },
      },
    ],
    bench: [...attentionBench('f16', OCCUPYING.ahead), ...groupedBench()],
  },
});
