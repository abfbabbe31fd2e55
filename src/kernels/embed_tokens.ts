/** Rows of the embedding table for token ids, decoded to f32. */
import { KernelError } from '../errors.ts';
import { ceilDiv, FORMAT_BYTES, type PlainFormat, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';

export interface EmbedParams {
  readonly format: PlainFormat;
  readonly tokens: number;
  /** hidden_size. */
  readonly K: number;
  /** Rows of the table in this shard. */
  readonly rowBegin: number;
  readonly rowCount: number;
}

export const embed_tokens: Kernel<EmbedParams> = defineKernel<EmbedParams>({
  name: 'embed_tokens',
  summary: 'h = embedding[token id]',
  variants: [PLAIN],
  libs: (p) => [`lib/weight_${p.format}`],
  check(p) {
    if (!(p.tokens >= 1 && p.K >= 1 && p.rowCount >= 1)) {
      throw new KernelError('embed_tokens', `expected tokens, K, rowCount >= 1, got ${JSON.stringify(p)}`);
    }
  },
  constants: (p) => ({ K: p.K }),
  uniforms: (p) => ({ row_begin: p.rowBegin, row_count: p.rowCount }),
  bindings: (p) => ({
    w: { type: p.format, dims: [p.rowCount, padRow(p.K)], cols: p.K, use: 'in', weight: true },
    token_ids: { type: 'u32', dims: [p.tokens], use: 'in' },
    h: { type: 'f32', dims: [p.tokens, padRow(p.K)], cols: p.K, use: 'out' },
  }),
  workgroups: (p) => [p.tokens, ceilDiv(p.K, 512), 1],
  reference(p, io) {
    const ids = io.u('token_ids');
    const h = io.f('h');
    const w = io.m('w');
    const row = new Float64Array(padRow(p.K));
    for (let t = 0; t < p.tokens; t++) {
      const local = ids[t] - p.rowBegin;
      if (local < 0 || local >= p.rowCount) continue;
      w.row(local, row);
      for (let k = 0; k < p.K; k++) h[t * padRow(p.K) + k] = row[k];
    }
  },
  cost: (p) => ({
    flops: 0,
    bytesRead: p.tokens * (p.K * FORMAT_BYTES[p.format] + 4), // one row and one id per token
    bytesWritten: p.tokens * p.K * 4,
  }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  inputs: (p, random) => ({
    // Some ids lie in other shards.
    token_ids: Uint32Array.from({ length: p.tokens }, (_, t) =>
      t === 1 ? p.rowBegin + p.rowCount : p.rowBegin + Math.floor(random() * p.rowCount),
    ),
  }),
  shapes: {
    test: [
      { name: 'one token', params: { format: 'bf16', tokens: 1, K: 64, rowBegin: 0, rowCount: 5 } },
      { name: 'odd width, f32', params: { format: 'f32', tokens: 4, K: 13, rowBegin: 0, rowCount: 9 } },
      {
        name: 'second shard, f16, several iterations',
        params: { format: 'f16', tokens: 5, K: 1000, rowBegin: 7, rowCount: 6 },
      },
    ],
    bench: [
      {
        name: '1 token of 7168',
        params: { format: 'bf16', tokens: 1, K: 7168, rowBegin: 0, rowCount: 128815 },
        set: 'real',
      },
      {
        name: '256 tokens of 7168, a shard of 8192 rows',
        params: { format: 'bf16', tokens: 256, K: 7168, rowBegin: 0, rowCount: 8192 },
        set: 'real',
      },
      {
        name: '16 tokens of 256',
        params: { format: 'bf16', tokens: 16, K: 256, rowBegin: 0, rowCount: 4096 },
        set: 'small',
      },
    ],
  },
});
