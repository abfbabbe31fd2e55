/** Shape of one step of a model: how many tokens, over which cache, with which results. */
import { KernelError } from '../errors.ts';
import type { KvFormat } from '../kernels/paged.ts';
import type { WeightLayout, WeightMatrix } from '../weights/layout.ts';

/** What the blocks of a layer must know of a step. */
export interface StepShape {
  /** Rows of the residual stream: every new token of every sequence. */
  readonly tokens: number;
  /** Sequences that the page table has room for. */
  readonly sequences: number;
  /** Pages per sequence in the page table, and pages in the cache. */
  readonly maxPages: number;
  readonly pages: number;
  readonly kv: KvFormat;
  /** No position of the step is at or beyond this. */
  readonly context: number;
  /** Reduction orders that depend on nothing but the model and the position. */
  readonly deterministic: boolean;
  /** Whether matrix units may be used, which round activations to binary16; never in deterministic plans. */
  readonly matrixUnits: boolean;
  readonly maxBindingBytes: number;
  /** Slot of (sequence, position) per token. */
  readonly placesSlot: string;
}

/** @throws KernelError when the layout has no such matrix. */
export function matrixOf(layout: WeightLayout, name: string): WeightMatrix {
  const matrix = layout.matrices.get(name);
  if (matrix === undefined) throw new KernelError('plan', `the weight layout has no matrix ${name}`);
  return matrix;
}
