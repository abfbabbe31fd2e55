/** Per-head norm and rotary embedding of queries and keys, and the write of keys and values into the paged cache. */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { type KvTarget, targetBindings, targetBytes, targetValues } from './kv_cache.ts';
import { scatteredRows, turn, turnsOf } from './linear_rope.ts';
import { PAGE } from './paged.ts';

export interface NormRopeParams {
  readonly tokens: number;
  /** Query heads, and key/value heads. */
  readonly heads: number;
  readonly kvHeads: number;
  /** head_dim, and how many of its first elements are rotated. */
  readonly D: number;
  readonly rotary: number;
  /** Elements of a row of qkv: query heads, key heads, value heads, each padded to 8, and what else there is. */
  readonly stride: number;
  readonly eps: number;
  readonly kv: KvTarget;
  /** Pages of the cache. */
  readonly pages: number;
}

export const qk_norm_rope: Kernel<NormRopeParams> = defineKernel<NormRopeParams>({
  name: 'qk_norm_rope',
  summary: 'RMSNorm and NEOX rotary embedding per query and key head; keys and values into their page',
  variants: [PLAIN],
  libs: (p) => [`lib/kv_store_${p.kv}`],
  check(p) {
    const fail = (what: string): never => {
      throw new KernelError('qk_norm_rope', what);
    };
    if (p.tokens < 1 || p.heads < 1 || p.kvHeads < 1)
      fail(`expected tokens, heads, kvHeads >= 1, got ${p.tokens}, ${p.heads}, ${p.kvHeads}`);
    if (p.rotary < 2 || p.rotary % 2 !== 0 || p.rotary > p.D)
      fail(`rotary: expected an even number from 2 to D ${p.D}, got ${p.rotary}`);
    const need = (p.heads + 2 * p.kvHeads) * padRow(p.D);
    if (p.stride < need || p.stride % 4 !== 0)
      fail(`stride: expected a multiple of 4 from ${need}, got ${p.stride}`);
  },
  constants: (p) => ({ HEADS: p.heads, KV_HEADS: p.kvHeads, D: p.D, ROTARY: p.rotary, STRIDE: p.stride }),
  uniforms: (p) => ({ eps: p.eps }),
  bindings(p) {
    const D8 = padRow(p.D);
    const gamma = { type: 'f32', dims: [D8], cols: p.D, use: 'in', weight: true } as const;
    return {
      turns: { type: 'f32', dims: [p.tokens, p.rotary / 2, 2], use: 'in' },
      q_norm: gamma,
      k_norm: gamma,
      qkv: { type: 'f32', dims: [p.tokens, p.stride], use: 'in' },
      q_rope: { type: 'f32', dims: [p.tokens, p.heads, D8], use: 'out' },
      ...targetBindings(p.kv, p.tokens, p.pages, p.kvHeads, p.D),
    };
  },
  workgroups: (p) => [ceilDiv(((p.heads + 2 * p.kvHeads) * padRow(p.D)) / 4, 64), p.tokens, 1],
  reference(p, io) {
    const D8 = padRow(p.D);
    const half = p.rotary / 2;
    const turns = io.f('turns');
    const qkv = io.f('qkv');
    const { k, v, ...target } = targetValues(p.kv, io);
    const normRope = (at: number, gamma: Float64Array, to: Float64Array, out: number, token: number) => {
      let squares = 0;
      for (let i = 0; i < p.D; i++) squares += qkv[at + i] ** 2;
      const scale = 1 / Math.sqrt(squares / p.D + p.eps);
      to.fill(0, out, out + D8);
      for (let i = 0; i < p.D; i++) to[out + i] = qkv[at + i] * scale * gamma[i];
      for (let i = 0; i < half; i++)
        [to[out + i], to[out + i + half]] = turn(turns, token * half + i, to[out + i], to[out + i + half]);
    };
    for (let t = 0; t < p.tokens; t++) {
      for (let h = 0; h < p.heads; h++)
        normRope(t * p.stride + h * D8, io.f('q_norm'), io.f('q_rope'), (t * p.heads + h) * D8, t);
      for (let h = 0; h < p.kvHeads; h++) {
        const row = (target.row(t) * p.kvHeads + h) * D8;
        const at = t * p.stride + (p.heads + h) * D8;
        normRope(at, io.f('k_norm'), k, row, t);
        for (let i = 0; i < D8; i++) {
          k[row + i] = target.round(k[row + i]);
          v[row + i] = target.round(i < p.D ? qkv[at + p.kvHeads * D8 + i] : 0);
        }
      }
    }
  },
  cost(p) {
    const bytes = targetBytes(p.kv);
    const normed = p.heads + p.kvHeads;
    return {
      flops: p.tokens * normed * (p.D * 4 + p.rotary * 3), // square, add, two products; two products and an addition
      bytesRead: p.tokens * ((normed + p.kvHeads) * p.D * 4 + p.rotary * 4 + 4) + 2 * p.D * 4, // q, k, v, turns, row; gammas
      bytesWritten: p.tokens * (p.heads * p.D * 4 + 2 * p.kvHeads * p.D * bytes), // q, k and v
    };
  },
  tolerance: { abs: 2e-6, rel: 5e-6, cosine: 1e-10 },
  inputs: (p, random) => ({
    cache_rows: scatteredRows(p.tokens, p.pages, random),
    turns: turnsOf(p.tokens, p.rotary, random),
  }),
  shapes: {
    test: [
      { name: 'one head of 2', params: normRopeCase(1, 1, 1, 2, 2, 'f32') },
      { name: 'head_dim 6, 4 of it rotated, f16', params: normRopeCase(1, 4, 2, 6, 4, 'f16') },
      { name: 'head_dim 12, rows for kv_pack', params: normRopeCase(3, 4, 2, 12, 8, 'rows') },
      { name: 'several tokens, half of 16', params: normRopeCase(5, 4, 2, 16, 8, 'f32') },
      {
        name: 'all of 128, wide rows',
        params: { ...normRopeCase(3, 12, 2, 128, 128, 'f16'), stride: 16 * 128 + 24 },
      },
    ],
    bench: [
      { name: 'Step-3.5-Flash, full, 1 token', params: normRopeCase(1, 64, 8, 128, 64, 'f16'), set: 'real' },
      {
        name: 'Step-3.5-Flash, sliding, 64 tokens',
        params: normRopeCase(64, 96, 8, 128, 128, 'f16'),
        set: 'real',
      },
    ],
  },
});

function normRopeCase(
  tokens: number,
  heads: number,
  kvHeads: number,
  D: number,
  rotary: number,
  kv: KvTarget,
): NormRopeParams {
  const stride = (heads + 2 * kvHeads) * padRow(D);
  return { tokens, heads, kvHeads, D, rotary, stride, eps: 1e-5, kv, pages: ceilDiv(tokens, PAGE) + 1 };
}
