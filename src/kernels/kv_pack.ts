/** New keys and values into a cache of e4m3 bytes with a scale per row. */
import { KernelError } from '../errors.ts';
import { padRow } from '../tensor.ts';
import { roundFp8Row, SCALE_BYTES } from './fp8_pages.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { cacheBinding } from './kv_cache.ts';
import { scatteredRows } from './linear_rope.ts';
import { PAGE } from './paged.ts';

export interface PackParams {
  readonly tokens: number;
  readonly kvHeads: number;
  /** head_dim; rows are padded to 8. */
  readonly D: number;
  /** Pages of the cache. */
  readonly pages: number;
}

export const kv_pack: Kernel<PackParams> = defineKernel<PackParams>({
  name: 'kv_pack',
  summary: 'keys and values as e4m3 with a scale per row, into their page',
  variants: [PLAIN],
  libs: () => ['lib/kv_pages', 'lib/e4m3_row'],
  check(p) {
    if (p.tokens < 1 || p.kvHeads < 1 || p.D < 1)
      throw new KernelError(
        'kv_pack',
        `expected tokens, kvHeads, D >= 1, got ${p.tokens}, ${p.kvHeads}, ${p.D}`,
      );
  },
  constants: (p) => ({ KV_HEADS: p.kvHeads, D: p.D, PAGE }),
  uniforms: () => ({}),
  bindings(p) {
    const rows = { type: 'f32', dims: [p.tokens, p.kvHeads, padRow(p.D)], use: 'in' } as const;
    const cache = cacheBinding('fp8', p.pages, p.kvHeads, p.D, 'out');
    return {
      cache_rows: { type: 'u32', dims: [p.tokens], use: 'in' },
      k_rows: rows,
      v_rows: rows,
      k_cache: cache,
      v_cache: cache,
    };
  },
  workgroups: (p) => [p.kvHeads, p.tokens, 2],
  reference(p, io) {
    const D8 = padRow(p.D);
    const rows = io.u('cache_rows');
    for (const [source, cache] of [
      [io.f('k_rows'), io.f('k_cache')],
      [io.f('v_rows'), io.f('v_cache')],
    ]) {
      for (let t = 0; t < p.tokens; t++) {
        for (let h = 0; h < p.kvHeads; h++) {
          const from = (t * p.kvHeads + h) * D8;
          const to = (rows[t] * p.kvHeads + h) * D8;
          cache.set(source.subarray(from, from + D8), to);
          roundFp8Row(cache, to, D8);
        }
      }
    }
  },
  cost: (p) => ({
    flops: p.tokens * p.kvHeads * 2 * p.D * 2, // a comparison and a division per element of K and V
    bytesRead: p.tokens * (p.kvHeads * 2 * p.D * 4 + 4), // K and V, row
    bytesWritten: p.tokens * p.kvHeads * 2 * (p.D + SCALE_BYTES),
  }),
  // Divisions are not exact in WGSL, so a value between two e4m3 numbers may go to either.
  tolerance: { abs: 1e-5, rel: 1e-6, cosine: 1e-9 },
  inputs: (p, random) => ({
    cache_rows: scatteredRows(p.tokens, p.pages, random),
    k_rows: unlikeRows(p, random),
    v_rows: unlikeRows(p, random),
  }),
  shapes: {
    test: [
      { name: 'one head of 2', params: { tokens: 1, kvHeads: 1, D: 2, pages: 1 } },
      { name: 'head_dim 6, 3 KV heads', params: { tokens: 5, kvHeads: 3, D: 6, pages: 2 } },
      { name: 'one head of 256', params: { tokens: 3, kvHeads: 1, D: 256, pages: 3 } },
      { name: '8 KV heads of 128, more than a page', params: { tokens: 70, kvHeads: 8, D: 128, pages: 3 } },
      { name: 'one over a word per invocation', params: { tokens: 2, kvHeads: 2, D: 258, pages: 1 } },
      { name: 'head_dim 512', params: { tokens: 4, kvHeads: 1, D: 512, pages: 2 } },
    ],
    bench: [
      { name: 'a head of 256, 1 token', params: { tokens: 1, kvHeads: 1, D: 256, pages: 64 }, set: 'real' },
      {
        name: 'a head of 256, 64 tokens',
        params: { tokens: 64, kvHeads: 1, D: 256, pages: 64 },
        set: 'real',
      },
      {
        name: '8 KV heads of 128, 64 tokens',
        params: { tokens: 64, kvHeads: 8, D: 128, pages: 64 },
        set: 'real',
      },
    ],
  },
});

/** Rows of unlike magnitudes, with zeros throughout in the second. */
function unlikeRows(p: PackParams, random: () => number): Float64Array {
  const D8 = padRow(p.D);
  const rows = new Float64Array(p.tokens * p.kvHeads * D8);
  for (let r = 0; r < p.tokens * p.kvHeads; r++) {
    const size = r === 1 ? 0 : 2 ** Math.floor(random() * 12 - 10);
    for (let i = 0; i < p.D; i++) rows[r * D8 + i] = (random() * 2 - 1) * size;
  }
  return rows;
}
