/** Where each token's key and value go in the paged cache, and its rotary angles: once per step, for every layer. */
import type { Rope } from '../config/index.ts';
import { KernelError } from '../errors.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { cacheRow, PAGE, type PagedCase, placesArray, scatteredPages } from './paged.ts';

export interface TurnsParams {
  readonly tokens: number;
  readonly rope: Rope;
  readonly sequences: number;
  /** Entries per sequence in the page table; positions of a window wrap around in them. */
  readonly maxPages: number;
  /** Places for tests and benchmarks; a planned call has none, its places change every step. */
  readonly example?: PagedCase;
}

/**
 * Radians per position of every rotary pair: theta^(-2i/dim). Llama 3's scaling divides those whose wavelength exceeds
 * what the model was first trained on by `factor`, leaves short ones alone, and goes from one to the other in between.
 */
export function inverseFrequencies({ dim, theta, scaling }: Rope): number[] {
  const plain = Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
  if (scaling === undefined) return plain;
  const {
    factor,
    original_max_position_embeddings: trained,
    low_freq_factor: low,
    high_freq_factor: high,
  } = scaling;
  return plain.map((frequency) => {
    const periods = (trained * frequency) / (2 * Math.PI); // of the first training's context
    const kept = Math.min(1, Math.max(0, (periods - low) / (high - low)));
    return frequency * ((1 - kept) / factor + kept);
  });
}

/**
 * `[dim / 2, 2]` fractions of a turn per position, as 64-bit fixed point (high word, low word). The kernel multiplies
 * them by the position in integers, so no angle loses precision.
 */
export function ropeFrequencies(rope: Rope): Uint32Array {
  const words: number[] = [];
  for (const frequency of inverseFrequencies(rope)) {
    const fixed = BigInt(Math.floor((frequency / (2 * Math.PI)) * 2 ** 64));
    words.push(Number(fixed >> 32n), Number(fixed & 0xffffffffn));
  }
  return Uint32Array.from(words);
}

/** Library files that tell what layers need of a place. */
export const PLACE_LIBS: readonly WgslName[] = ['lib/place_of', 'lib/turns'];

export const rope_turns: Kernel<TurnsParams> = defineKernel<TurnsParams>({
  name: 'rope_turns',
  summary: "cache row, and cosine and sine of the rotary angles, of every token's place",
  variants: [PLAIN],
  libs: () => PLACE_LIBS,
  check(p) {
    if (p.rope.dim % 2 !== 0 || p.rope.dim < 2)
      throw new KernelError('rope_turns', `rope.dim: expected an even number >= 2, got ${p.rope.dim}`);
    if (p.tokens < 1) throw new KernelError('rope_turns', `tokens: expected at least 1, got ${p.tokens}`);
  },
  constants: (p) => ({ HALF: p.rope.dim / 2, PAGE }),
  uniforms: (p) => ({ max_pages: p.maxPages }),
  bindings: (p) => ({
    places: { type: 'u32', dims: [p.tokens, 2], use: 'in' },
    page_table: { type: 'u32', dims: [p.sequences, p.maxPages], use: 'in' },
    frequencies: { type: 'u32', dims: [p.rope.dim / 2, 2], use: 'in' },
    cache_rows: { type: 'u32', dims: [p.tokens], use: 'out' },
    turns: { type: 'f32', dims: [p.tokens, p.rope.dim / 2, 2], use: 'out' },
  }),
  workgroups: (p) => [p.tokens, 1, 1],
  reference(p, io) {
    const places = io.u('places');
    const table = io.u('page_table');
    const rows = io.u('cache_rows');
    const turns = io.f('turns');
    const frequencies = inverseFrequencies(p.rope);
    for (let t = 0; t < p.tokens; t++) {
      const [sequence, position] = [places[t * 2], places[t * 2 + 1]];
      rows[t] = cacheRow(table, p.maxPages, sequence, position);
      frequencies.forEach((frequency, i) => {
        const at = (t * frequencies.length + i) * 2;
        turns[at] = Math.cos(position * frequency);
        turns[at + 1] = Math.sin(position * frequency);
      });
    }
  },
  cost: (p) => ({
    flops: p.tokens * (p.rope.dim / 2) * 20, // two polynomials
    bytesRead: p.tokens * 12 + p.rope.dim * 4, // places, pages, frequencies
    bytesWritten: p.tokens * (4 + p.rope.dim * 4), // rows, cosines and sines
  }),
  tolerance: { abs: 5e-7, rel: 5e-7, cosine: 1e-11 },
  inputs(p, random) {
    const example = p.example ?? { places: [], sequences: 0, maxPages: 0 };
    return {
      places: placesArray(example),
      page_table: scatteredPages(example, random).table,
      frequencies: ropeFrequencies(p.rope),
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
        name: 'scaled as Llama 3 does, in a ring of two pages',
        params: turnsCase(
          16,
          { places: [[0, 1000]], sequences: 1, maxPages: 2, window: 10 },
          {
            scaling: {
              factor: 2,
              original_max_position_embeddings: 256,
              low_freq_factor: 1,
              high_freq_factor: 32,
            },
          },
        ),
      },
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

/** A call for `example`, for test and benchmark lists. */
export function turnsCase(dim: number, example: PagedCase, rest: Partial<Rope> = {}): TurnsParams {
  return {
    tokens: example.places.length,
    rope: { dim, theta: 500000, ...rest },
    sequences: example.sequences,
    maxPages: example.maxPages,
    example,
  };
}
