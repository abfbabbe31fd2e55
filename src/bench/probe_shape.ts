/** What the lists of probes share. */
import type { AnyKernel } from '../kernels/kernel.ts';

/** A call to be timed. */
export interface ProbeShape {
  readonly kernel: AnyKernel;
  readonly params: unknown;
  readonly shape: string;
  /** With weights from a cache. */
  readonly cached: boolean;
  /** Whether sampling only looks for the largest logit. */
  readonly greedy: boolean;
}

export const COLD = false;
export const CACHED = true;

/** A probe; with weights from memory and greedy sampling unless said otherwise. */
export function probe(
  kernel: AnyKernel,
  shape: string,
  params: unknown,
  cached: boolean = COLD,
  greedy: boolean = true,
): ProbeShape {
  return { kernel, params, shape, cached, greedy };
}

/** All of a list, or its first few. */
export type Some = <T>(shapes: readonly T[], few: number) => readonly T[];
