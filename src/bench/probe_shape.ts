/** What the lists of probes share. */
import type { Heat } from '../cost/calibration.ts';
import type { AnyKernel } from '../kernels/kernel.ts';

/** A call to be timed. */
export interface ProbeShape {
  readonly kernel: AnyKernel;
  readonly params: unknown;
  readonly shape: string;
  readonly heat: Heat;
  /** Whether sampling only looks for the largest logit. */
  readonly greedy: boolean;
}

export const COLD = 'cold';
export const CACHED = 'cached';

/** A probe; with code and weights from memory and greedy sampling unless said otherwise. */
export function probe(
  kernel: AnyKernel,
  shape: string,
  params: unknown,
  heat: Heat = COLD,
  greedy: boolean = true,
): ProbeShape {
  return { kernel, params, shape, heat, greedy };
}

/** All of a list, or its first few. */
export type Some = <T>(shapes: readonly T[], few: number) => readonly T[];
