/** Where each token's key and value go in the paged cache, and its rotary angles: once per step, for every layer. */
import { KernelError } from '../errors.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { cacheRow, PAGE, type PagedCase, placesArray, scatteredPages } from './paged.ts';

export interface TurnsParams {
  readonly tokens: number;
  /** head_dim; all of it is rotated. */
  readonly D: number;
  readonly theta: number;
  readonly sequences: number;
  readonly maxPages: number;
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

export const rope_turns: Kernel<TurnsParams> = defineKernel<TurnsParams>({
  name: 'rope_turns',
  summary: "cache row, and cosine and sine of the rotary angles, of every token's place",
  variants: [PLAIN],
  libs: () => ['lib/turns'],
  check(p) {
    if (p.D % 2 !== 0 || p.D < 2)
      throw new KernelError('rope_turns', `D: expected an even number >= 2, got ${p.D}`);
    if (p.tokens < 1) throw new KernelError('rope_turns', `tokens: expected at least 1, got ${p.tokens}`);
  },
  constants: (p) => ({ HALF: p.D / 2, PAGE }),
  uniforms: (p) => ({ max_pages: p.maxPages }),
  bindings: (p) => ({
    places: { type: 'u32', dims: [p.tokens, 2], use: 'in' },
    page_table: { type: 'u32', dims: [p.sequences, p.maxPages], use: 'in' },
    frequencies: { type: 'u32', dims: [p.D / 2, 2], use: 'in' },
    cache_rows: { type: 'u32', dims: [p.tokens], use: 'out' },
    turns: { type: 'f32', dims: [p.tokens, p.D / 2, 2], use: 'out' },
  }),
  workgroups: (p) => [p.tokens, 1, 1],
  reference(p, io) {
    const places = io.u('places');
    const table = io.u('page_table');
    const rows = io.u('cache_rows');
    const turns = io.f('turns');
    for (let t = 0; t < p.tokens; t++) {
      const [sequence, position] = [places[t * 2], places[t * 2 + 1]];
      rows[t] = cacheRow(table, p.maxPages, sequence, position);
      for (let i = 0; i < p.D / 2; i++) {
        const angle = position * p.theta ** ((-2 * i) / p.D);
        const at = (t * (p.D / 2) + i) * 2;
        turns[at] = Math.cos(angle);
        turns[at + 1] = Math.sin(angle);
      }
    }
  },
  cost: (p) => ({
    flops: p.tokens * (p.D / 2) * 20, // two polynomials
    bytesRead: p.tokens * 12 + p.D * 4, // places, pages, frequencies
    bytesWritten: p.tokens * (4 + p.D * 4), // rows, cosines and sines
  }),
  tolerance: { abs: 5e-7, rel: 5e-7, cosine: 1e-11 },
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
      { name: 'position 0', params: turnsCase(16, { places: [[0, 0]], sequences: 1, maxPages: 1 }) },
      {
        name: 'two sequences, page boundaries',
        params: turnsCase(64, {
          places: [
            [1, 63],
            [1, 64],
            [0, 5],
          ],
          sequences: 2,
          maxPages: 4,
        }),
      },
      { name: 'head_dim 6', params: turnsCase(6, { places: [[0, 17]], sequences: 1, maxPages: 1 }) },
      {
        name: 'the last position of 65,536',
        params: turnsCase(256, { places: [[0, 65535]], sequences: 1, maxPages: 1024 }),
      },
    ],
    bench: [
      {
        name: 'head_dim 256, 64 tokens',
        params: turnsCase(256, {
          places: Array.from({ length: 64 }, (_, s) => [s, 100] as const),
          sequences: 64,
          maxPages: 2,
        }),
      },
    ],
  },
});

function turnsCase(D: number, example: PagedCase): TurnsParams {
  return {
    tokens: example.places.length,
    D,
    theta: 500000,
    sequences: example.sequences,
    maxPages: example.maxPages,
    example,
  };
}
