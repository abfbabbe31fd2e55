/** How what a query sees is cut into slices, for workgroups side by side; `lib/slices.wgsl` says the same. */
import { ceilDiv } from '../tensor.ts';

/** Slices, at most, and what their lengths are multiples of. */
export interface Slices {
  readonly splits: number;
  readonly splitLen: number;
}

/** Workgroups that are enough to occupy a large GPU, with kernels that fetch ahead and the one that does not. */
export const OCCUPYING = { ahead: 128, plain: 512 } as const;

/** Positions that slices have at least, of which their lengths are multiples, and that they should have at most. */
const LEAST_SLICE = 64;
const MOST_SLICE = 8192;

/**
 * Slices of `seen` positions where each of them has `each` workgroups: enough to occupy so many `workgroups` with few tokens,
 * and few enough to keep partial results few. What a query sees may be half of `seen`, and is cut into as many.
 */
export function contextSlices(seen: number, each: number, workgroups: number): Slices {
  const wanted = Math.max(ceilDiv(workgroups, each), ceilDiv(seen, MOST_SLICE));
  return { splits: Math.min(ceilDiv(seen, LEAST_SLICE), wanted), splitLen: LEAST_SLICE };
}

/**
 * Positions in each slice of the `seen` that a query sees: the smallest multiple of splitLen of which splits suffice. So each
 * token's slices are alike, whatever the longest context of the call.
 */
export function sliceLength(p: Slices, seen: number): number {
  return p.splitLen * ceilDiv(seen, p.splits * p.splitLen);
}

/** Slices that a query has that sees `seen` positions. */
export function usedSlices(p: Slices, seen: number): number {
  return ceilDiv(seen, sliceLength(p, seen));
}
