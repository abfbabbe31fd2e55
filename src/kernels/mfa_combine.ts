/** Joins the slices of mfa_decode into attention outputs. */
import { padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import {
  type AttentionParams,
  attentionBench,
  attentionCheck,
  attentionShapes,
  partialDims,
} from './mfa_decode.ts';
import { placesArray } from './paged.ts';

export const mfa_combine: Kernel<AttentionParams> = defineKernel<AttentionParams>({
  name: 'mfa_combine',
  summary: 'joins the context slices of mfa_decode by their softmax statistics',
  variants: [PLAIN],
  libs: () => [],
  check: (p) => attentionCheck('mfa_combine', p),
  constants: (p) => ({ HEADS: p.heads, D: p.D }),
  uniforms: (p) => ({ token_begin: p.tokenBegin, splits: p.splits, split_len: p.splitLen }),
  bindings(p) {
    const partial = partialDims(p);
    return {
      places: { type: 'u32', dims: [p.allTokens, 2], use: 'in' },
      part_o: { type: 'f32', dims: partial.o, use: 'in' },
      part_ml: { type: 'f32', dims: partial.ml, use: 'in' },
      attn: { type: 'f32', dims: [p.allTokens, p.heads, padRow(p.D)], use: 'out' },
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
      const used = Math.floor(places[token * 2 + 1] / p.splitLen) + 1;
      for (let h = 0; h < p.heads; h++) {
        const parts = Array.from({ length: used }, (_, s) => (local * p.splits + s) * p.heads + h);
        const max = parts.reduce((m, part) => Math.max(m, ml[part * 2]), Number.NEGATIVE_INFINITY);
        const weights = parts.map((part) => Math.exp(ml[part * 2] - max));
        const sum = parts.reduce((total, part, s) => total + weights[s] * ml[part * 2 + 1], 0);
        for (let i = 0; i < D8; i++) {
          const out = parts.reduce((total, part, s) => total + weights[s] * o[part * D8 + i], 0);
          attn[(token * p.heads + h) * D8 + i] = out / sum;
        }
      }
    }
  },
  cost(p) {
    const used = Math.ceil(p.context / p.splitLen);
    return {
      flops: p.tokens * used * p.heads * p.D * 2, // weight and add every partial result
      bytesRead: p.tokens * used * p.heads * (p.D + 2) * 4,
      bytesWritten: p.tokens * p.heads * p.D * 4,
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
      const used = Math.floor(example.places[p.tokenBegin + local][1] / p.splitLen) + 1;
      for (let part = local * splits * heads; part < (local * splits + used) * heads; part++) {
        part_ml[part * 2] = random() * 20 - 10;
        part_ml[part * 2 + 1] = 0.5 + random();
        for (let i = 0; i < D8; i++) part_o[part * D8 + i] = random() * 2 - 1;
      }
    }
    return { places: placesArray(example), part_o, part_ml };
  },
  shapes: {
    test: attentionShapes(),
    bench: attentionBench(),
  },
});
