/** What the attention kernels share: places, pages, and test inputs with poison beyond every sequence's end. */
import { ceilDiv, padRow } from '../tensor.ts';

/** Storage of K and V; `fp8` is e4m3 with a scale per row. */
export const KV_FORMATS = ['f32', 'f16', 'fp8'] as const;

export type KvFormat = (typeof KV_FORMATS)[number];

/** Positions of a page of the KV cache. */
export const PAGE = 64;

/** Sequences in a test: their lengths so far, and which of their last positions are queried in this call. */
export interface PagedCase {
  /** Position of each query token, with its sequence. */
  readonly places: readonly (readonly [sequence: number, position: number])[];
  readonly sequences: number;
  /** Entries per sequence in the page table; a window's positions wrap around in them. */
  readonly maxPages: number;
  /** Positions that a query sees, its own included; all before it when absent. */
  readonly window?: number;
}

/** A cache in which sequences use scattered pages; unused table entries are wild. */
export function scatteredPages(c: PagedCase, random: () => number): { table: Uint32Array; pages: number } {
  const used = Array.from({ length: c.sequences }, (_, s) =>
    Math.min(c.maxPages, ceilDiv(Math.max(0, ...positionsOf(c, s).map((p) => p + 1)), PAGE)),
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

function positionsOf(c: PagedCase, sequence: number): number[] {
  return c.places.filter((p) => p[0] === sequence).map((p) => p[1]);
}

/** The first position that a query sees. */
export function firstSeen(position: number, window: number | undefined): number {
  return window === undefined ? 0 : Math.max(0, position + 1 - window);
}

/** Row of the cache that holds a sequence's position; windows wrap around in their pages. */
export function cacheRow(table: Uint32Array, maxPages: number, sequence: number, position: number): number {
  return table[sequence * maxPages + (Math.floor(position / PAGE) % maxPages)] * PAGE + (position % PAGE);
}

/**
 * Cache contents `[pages * PAGE, kvHeads, padRow(D)]` with NaN wherever no sequence has a position, or no query sees it.
 */
export function poisonedCache(
  c: PagedCase,
  table: Uint32Array,
  pages: number,
  D: number,
  kvHeads: number,
  random: () => number,
): Float64Array {
  const D8 = padRow(D);
  const cache = new Float64Array(pages * PAGE * kvHeads * D8).fill(Number.NaN);
  for (let s = 0; s < c.sequences; s++) {
    const positions = positionsOf(c, s);
    const end = Math.max(0, ...positions.map((p) => p + 1));
    for (let j = firstSeen(Math.min(end, ...positions), c.window); j < end; j++) {
      const row = cacheRow(table, c.maxPages, s, j) * kvHeads * D8;
      for (let i = 0; i < kvHeads * D8; i++) cache[row + i] = i % D8 < D ? random() * 2 - 1 : 0;
    }
  }
  return cache;
}
