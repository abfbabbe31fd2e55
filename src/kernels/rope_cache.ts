/** Rotary embedding of queries and key, and the write of key and value into the paged cache, for unusual head_dims. */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { type KvTarget, targetBindings, targetBytes, targetValues } from './kv_cache.ts';
import { scatteredRows, turn, turnsOf } from './linear_rope.ts';

export interface RopeParams {
  readonly tokens: number;
  /** num_attention_heads. */
  readonly heads: number;
  /** head_dim; all of it is rotated. */
  readonly D: number;
  /** Elements of a row of qkv, and where its key starts (the value follows after the padded head). */
  readonly qkvStride: number;
  readonly kAt: number;
  readonly kv: KvTarget;
  /** Pages of the cache. */
  readonly pages: number;
}

export const rope_cache: Kernel<RopeParams> = defineKernel<RopeParams>({
  name: 'rope_cache',
  summary: 'NEOX rotary embedding of queries and key; key and value into their page (head_dim not of fours)',
  variants: [PLAIN],
  libs: (p) => [`lib/kv_store_${p.kv}`],
  check(p) {
    if (p.D % 2 !== 0 || p.D < 2)
      throw new KernelError('rope_cache', `D: expected an even number >= 2, got ${p.D}`);
    if (p.tokens < 1 || p.heads < 1)
      throw new KernelError('rope_cache', `expected tokens, heads >= 1, got ${p.tokens}, ${p.heads}`);
  },
  constants: (p) => ({ HEADS: p.heads, D: p.D, QKV_STRIDE: p.qkvStride, K_AT: p.kAt }),
  uniforms: () => ({}),
  bindings(p) {
    const D8 = padRow(p.D);
    return {
      turns: { type: 'f32', dims: [p.tokens, p.D / 2, 2], use: 'in' },
      q: { type: 'f32', dims: [p.tokens, p.heads, D8], cols: p.D, use: 'in' },
      qkv: { type: 'f32', dims: [p.tokens, p.qkvStride], use: 'in' },
      q_rope: { type: 'f32', dims: [p.tokens, p.heads, D8], use: 'out' },
      ...targetBindings(p.kv, p.tokens, p.pages, 1, p.D),
    };
  },
  workgroups: (p) => [ceilDiv(((p.heads + 2) * padRow(p.D)) / 4, 64), p.tokens, 1],
  reference(p, io) {
    const D8 = padRow(p.D);
    const half = p.D / 2;
    const turns = io.f('turns');
    const q = io.f('q');
    const qkv = io.f('qkv');
    const { k, v, ...target } = targetValues(p.kv, io);
    const rotate = (source: Float64Array, at: number, to: Float64Array, out: number, token: number) => {
      for (let i = 0; i < half; i++)
        [to[out + i], to[out + i + half]] = turn(
          turns,
          token * half + i,
          source[at + i],
          source[at + i + half],
        );
      to.fill(0, out + p.D, out + D8);
    };
    for (let t = 0; t < p.tokens; t++) {
      for (let h = 0; h < p.heads; h++) {
        const at = (t * p.heads + h) * D8;
        rotate(q, at, io.f('q_rope'), at, t);
      }
      const row = target.row(t) * D8;
      const key = t * p.qkvStride + p.kAt;
      rotate(qkv, key, k, row, t);
      for (let i = 0; i < D8; i++) {
        k[row + i] = target.round(k[row + i]);
        v[row + i] = target.round(i < p.D ? qkv[key + D8 + i] : 0);
      }
    }
  },
  cost(p) {
    const bytes = targetBytes(p.kv);
    return {
      flops: p.tokens * (p.heads + 1) * p.D * 3, // two products and an addition per element
      bytesRead: p.tokens * ((p.heads + 2) * p.D * 4 + p.D * 4 + 4), // q, k, v, turns, row
      bytesWritten: p.tokens * (p.heads * p.D * 4 + 2 * p.D * bytes), // q, k and v
    };
  },
  tolerance: { abs: 2e-6, rel: 2e-6, cosine: 1e-10 },
  inputs: (p, random) => ({
    cache_rows: scatteredRows(p.tokens, p.pages, random),
    turns: turnsOf(p.tokens, p.D, random),
  }),
  shapes: {
    test: [
      { name: 'head_dim 2', params: ropeCase(1, 4, 2, 'f32', 32, 1) },
      { name: 'head_dim 6, f16', params: ropeCase(1, 5, 6, 'f16', 24, 1) },
      { name: 'head_dim 10, rows for kv_pack', params: ropeCase(3, 2, 10, 'rows', 24, 1) },
      { name: 'several tokens, head_dim 64', params: ropeCase(3, 3, 64, 'f16', 40, 4) },
      { name: 'head_dim 258', params: ropeCase(2, 2, 258, 'f32', 16, 2) },
    ],
    bench: [{ name: '64 heads of 258, 64 tokens', params: ropeCase(64, 64, 258, 'f16', 2048, 64) }],
  },
});

function ropeCase(
  tokens: number,
  heads: number,
  D: number,
  kv: KvTarget,
  kAt: number,
  pages: number,
): RopeParams {
  return { tokens, heads, D, qkvStride: kAt + 2 * padRow(D), kAt, kv, pages };
}
