/** What the attention kernels share: places, pages, and test inputs with poison beyond every sequence's end. */
import { ceilDiv, padRow } from '../tensor.ts';

/** Storage of K and V. */
export type KvFormat = 'f32' | 'f16';

/** Positions of a page of the KV cache. */
export const PAGE = 64;

/** Sequences in a test: their lengths so far, and which of their last positions are queried in this call. */
export interface PagedCase {
  /** Position of each query token, with its sequence. */
  readonly places: readonly (readonly [sequence: number, position: number])[];
  readonly sequences: number;
  readonly maxPages: number;
}

/** A cache in which sequences use scattered pages; unused table entries are wild. */
export function scatteredPages(c: PagedCase, random: () => number): { table: Uint32Array; pages: number } {
  const used = Array.from({ length: c.sequences }, (_, s) =>
    ceilDiv(Math.max(0, ...c.places.filter((p) => p[0] === s).map((p) => p[1] + 1)), PAGE),
  );
  const pages = used.reduce((a, b) => a + b, 0) + 1;
  const order = Array.from({ length: pages }, (_, i) => i);
  for (let i = pages - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  const table = new Uint32Array(c.sequences * c.maxPages).fill(0xffffffff);
  let next = 0;
  used.forEach((count, s) => {
    for (let i = 0; i < count; i++) table[s * c.maxPages + i] = order[next++];
  });
  return { table, pages };
}

/** Number of pages that {@link scatteredPages} makes for a case. */
export function pageCount(c: PagedCase): number {
  return scatteredPages(c, () => 0).pages;
}

/** Flat (sequence, position) pairs. */
export function placesArray(c: PagedCase): Uint32Array {
  return Uint32Array.from(c.places.flat());
}

/** Row of the cache that holds a sequence's position. */
export function cacheRow(table: Uint32Array, maxPages: number, sequence: number, position: number): number {
  return table[sequence * maxPages + Math.floor(position / PAGE)] * PAGE + (position % PAGE);
}

/** Cache contents with NaN wherever no sequence has a position. */
export function poisonedCache(
  c: PagedCase,
  table: Uint32Array,
  pages: number,
  D: number,
  random: () => number,
): Float64Array {
  const D8 = padRow(D);
  const cache = new Float64Array(pages * PAGE * D8).fill(Number.NaN);
  for (let s = 0; s < c.sequences; s++) {
    const length = Math.max(0, ...c.places.filter((p) => p[0] === s).map((p) => p[1] + 1));
    for (let j = 0; j < length; j++) {
      const row = cacheRow(table, c.maxPages, s, j) * D8;
      for (let i = 0; i < D8; i++) cache[row + i] = i < D ? random() * 2 - 1 : 0;
    }
  }
  return cache;
}
