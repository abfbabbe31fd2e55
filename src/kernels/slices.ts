/** How what a query sees is cut into slices, for workgroups side by side; `lib/slices.wgsl` says the same. */
import { ceilDiv } from '../tensor.ts';

/** Slices, at most, and what their lengths are multiples of. */
export interface Slices {
  readonly splits: number;
  readonly splitLen: number;
}

/**
 * Workgroups that are enough to occupy a large GPU: with kernels that fetch ahead one on each of its processors, which is what
 * runs side by side, with the one that does not, more.
 */
export const OCCUPYING = { ahead: 128, plain: 512 } as const;

/** Positions that slices have at least, of which their lengths are multiples, and that they should have at most. */
const LEAST_SLICE = 64;
const MOST_SLICE = 8192;

/** Positions whose work is about that of beginning and ending a slice. */
const SLICE_COST = 64;

/** Most slices to choose from, as a multiple of the fewest, and at least. */
const CHOICES = { times: 3, least: 6 } as const;

/**
 * Slices of `seen` positions where each of them has `each` workgroups: enough to occupy so many `workgroups` with few tokens,
 * few enough to keep partial results few, and as many as leave few processors idle while the last workgroups run. What a
 * query sees may be half of `seen`, and is cut into as many.
 */
export function contextSlices(seen: number, each: number, workgroups: number): Slices {
  const most = ceilDiv(seen, LEAST_SLICE);
  const fewest = Math.max(1, Math.floor(workgroups / each), ceilDiv(seen, MOST_SLICE));
  const rounds = (splits: number) => ceilDiv(each * splits, OCCUPYING.ahead);
  const cost = (splits: number) => rounds(splits) * (ceilDiv(seen, splits) + SLICE_COST);
  let splits = Math.min(most, fewest);
  const last = Math.min(most, Math.max(CHOICES.times * fewest, CHOICES.least));
  for (let more = splits + 1; more <= last; more++) if (cost(more) < cost(splits)) splits = more;
  return { splits, splitLen: LEAST_SLICE };
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
