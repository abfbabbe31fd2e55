/** Rotary embedding of queries and key, and the write of key and value into the paged cache. */
import { KernelError } from '../errors.ts';
import { ceilDiv, f16ToNumber, numberToF16, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import {
  cacheRow,
  type KvFormat,
  PAGE,
  type PagedCase,
  pageCount,
  placesArray,
  scatteredPages,
} from './paged.ts';

export interface RopeParams {
  readonly tokens: number;
  /** num_attention_heads. */
  readonly heads: number;
  /** head_dim; all of it is rotated. */
  readonly D: number;
  readonly theta: number;
  /** Elements of a row of qkv, and where its key starts (the value follows after the padded head). */
  readonly qkvStride: number;
  readonly kAt: number;
  readonly kv: KvFormat;
  readonly sequences: number;
  readonly maxPages: number;
  /** Pages of the cache. */
  readonly pages: number;
  /** Places for tests and benchmarks; a planned call has none, its places change every step. */
  readonly example?: PagedCase;
}

/**
 * `[D / 2, 2]` fractions of a turn per position, as 64-bit fixed point (high word, low word):
 * theta^(-2i/D) / 2π. The kernel multiplies them by the position in integers, so no angle loses precision.
 */
export function ropeFrequencies(theta: number, D: number): Uint32Array {
  const words: number[] = [];
  for (let i = 0; i < D / 2; i++) {
    const fixed = BigInt(Math.floor((theta ** ((-2 * i) / D) / (2 * Math.PI)) * 2 ** 64));
    words.push(Number(fixed >> 32n), Number(fixed & 0xffffffffn));
  }
  return Uint32Array.from(words);
}

export const rope_cache: Kernel<RopeParams> = defineKernel<RopeParams>({
  name: 'rope_cache',
  summary: 'NEOX rotary embedding of queries and key; key and value into their page',
  variants: [PLAIN],
  libs: (p) => [`lib/kv_store_${p.kv}`, 'lib/turns'],
  check(p) {
    if (p.D % 2 !== 0 || p.D < 2)
      throw new KernelError('rope_cache', `D: expected an even number >= 2, got ${p.D}`);
    if (p.tokens < 1 || p.heads < 1)
      throw new KernelError('rope_cache', `expected tokens, heads >= 1, got ${p.tokens}, ${p.heads}`);
  },
  constants: (p) => ({ HEADS: p.heads, D: p.D, QKV_STRIDE: p.qkvStride, K_AT: p.kAt, PAGE }),
  uniforms: (p) => ({ max_pages: p.maxPages }),
  bindings(p) {
    const D8 = padRow(p.D);
    return {
      places: { type: 'u32', dims: [p.tokens, 2], use: 'in' },
      page_table: { type: 'u32', dims: [p.sequences, p.maxPages], use: 'in' },
      frequencies: { type: 'u32', dims: [p.D / 2, 2], use: 'in' },
      q: { type: 'f32', dims: [p.tokens, p.heads, D8], cols: p.D, use: 'in' },
      qkv: { type: 'f32', dims: [p.tokens, p.qkvStride], use: 'in' },
      q_rope: { type: 'f32', dims: [p.tokens, p.heads, D8], use: 'out' },
      k_cache: { type: p.kv, dims: [p.pages * PAGE, D8], use: 'out' },
      v_cache: { type: p.kv, dims: [p.pages * PAGE, D8], use: 'out' },
    };
  },
  workgroups: (p) => [ceilDiv(((p.heads + 2) * padRow(p.D)) / 4, 64), p.tokens, 1],
  reference(p, io) {
    const D8 = padRow(p.D);
    const half = p.D / 2;
    const places = io.u('places');
    const table = io.u('page_table');
    const q = io.f('q');
    const qkv = io.f('qkv');
    const rotate = (from: Float64Array, at: number, to: Float64Array, out: number, position: number) => {
      for (let i = 0; i < half; i++) {
        const angle = position * p.theta ** ((-2 * i) / p.D);
        const [a, b] = [from[at + i], from[at + i + half]];
        to[out + i] = a * Math.cos(angle) - b * Math.sin(angle);
        to[out + i + half] = b * Math.cos(angle) + a * Math.sin(angle);
      }
      to.fill(0, out + p.D, out + D8);
    };
    for (let t = 0; t < p.tokens; t++) {
      const [sequence, position] = [places[t * 2], places[t * 2 + 1]];
      for (let h = 0; h < p.heads; h++) {
        const at = (t * p.heads + h) * D8;
        rotate(q, at, io.f('q_rope'), at, position);
      }
      const row = cacheRow(table, p.maxPages, sequence, position) * D8;
      const key = t * p.qkvStride + p.kAt;
      const k = io.f('k_cache');
      const v = io.f('v_cache');
      rotate(qkv, key, k, row, position);
      for (let i = 0; i < D8; i++) v[row + i] = i < p.D ? qkv[key + D8 + i] : 0;
      if (p.kv === 'f16')
        for (let i = row; i < row + D8; i++) [k[i], v[i]] = [roundToF16(k[i]), roundToF16(v[i])];
    }
  },
  cost(p) {
    const bytes = p.kv === 'f32' ? 4 : 2;
    return {
      flops: p.tokens * (p.heads + 1) * p.D * 3, // two products and an addition per element
      bytesRead: p.tokens * ((p.heads + 2) * p.D * 4 + 8), // q, k, v, place
      bytesWritten: p.tokens * (p.heads * p.D * 4 + 2 * p.D * bytes), // q, k and v
    };
  },
  tolerance: { abs: 2e-6, rel: 2e-6, cosine: 1e-10 },
  inputs(p, random) {
    const example = p.example ?? { places: [], sequences: 0, maxPages: 0 };
    return {
      places: placesArray(example),
      page_table: scatteredPages(example, random).table,
      frequencies: ropeFrequencies(p.theta, p.D),
    };
  },
  shapes: {
    test: [
      {
        name: 'position 0',
        params: ropeCase(4, 16, 'f32', 32, { places: [[0, 0]], sequences: 1, maxPages: 1 }),
      },
      {
        name: 'two sequences, page boundaries, f16',
        params: ropeCase(3, 64, 'f16', 40, {
          places: [
            [1, 63],
            [1, 64],
            [0, 5],
          ],
          sequences: 2,
          maxPages: 4,
        }),
      },
      {
        name: 'head_dim 6',
        params: ropeCase(5, 6, 'f16', 24, { places: [[0, 17]], sequences: 1, maxPages: 1 }),
      },
      {
        name: 'the last position of 65,536',
        params: ropeCase(2, 256, 'f32', 16, { places: [[0, 65535]], sequences: 1, maxPages: 1024 }),
      },
    ],
    bench: [
      {
        name: '64 heads of 256, 64 tokens',
        params: ropeCase(64, 256, 'f16', 2048, {
          places: Array.from({ length: 64 }, (_, s) => [s, 100] as const),
          sequences: 64,
          maxPages: 2,
        }),
      },
    ],
  },
});

function roundToF16(value: number): number {
  return f16ToNumber(numberToF16(value));
}

function ropeCase(heads: number, D: number, kv: KvFormat, kAt: number, example: PagedCase): RopeParams {
  return {
    tokens: example.places.length,
    heads,
    D,
    theta: 500000,
    qkvStride: kAt + 2 * padRow(D),
    kAt,
    kv,
    sequences: example.sequences,
    maxPages: example.maxPages,
    pages: pageCount(example),
    example,
  };
}
