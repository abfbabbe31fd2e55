/** Shape of one step of a model: how many tokens, over which cache, with which results. */
import { type AttentionFacts, classOf, type LayerClass } from '../config/index.ts';
import { KernelError } from '../errors.ts';
import { PAGE } from '../kernels/paged.ts';
import { ceilDiv } from '../tensor.ts';
import type { WeightLayout, WeightMatrix } from '../weights/layout.ts';
import type { CacheShape } from './cache.ts';

/**
 * How many rows of a step belong to the same sequence: none but the one, a few (drafts), or most of those that follow each
 * other (prompts).
 */
export type StepRows = 'one each' | 'few each' | 'prompts';

/** What the blocks of a layer must know of a step. */
export interface StepShape {
  /** Rows of the residual stream: every new token of every sequence. */
  readonly tokens: number;
  readonly cache: CacheShape;
  /** Kinds of layers by what they see and how they rotate. */
  readonly classes: readonly LayerClass[];
  /** No position of the step is at or beyond this. */
  readonly context: number;
  /** Reduction orders that depend on nothing but the model and the position. */
  readonly deterministic: boolean;
  /** Whether matrix units may be used, which round activations to binary16; never in deterministic plans. */
  readonly matrixUnits: boolean;
  /** Whether subgroups are as small as those of processors, to which idle invocations cost as much as busy ones. */
  readonly processor: boolean;
  readonly maxBindingBytes: number;
  /** Slot of (sequence, position) per token. */
  readonly placesSlot: string;
  readonly rows: StepRows;
}

/** Slots that layers of one class share in a step, and how many pages their tables and caches have. */
export interface ClassSlots {
  readonly turns: string;
  readonly frequencies: string;
  readonly cacheRows: string;
  readonly pageTable: string;
  readonly maxPages: number;
  readonly pages: number;
}

/** @throws KernelError when a class has a window and the cache no ring. */
export function classSlots({ cache, classes }: StepShape, facts: AttentionFacts): ClassSlots {
  const { suffix, window } = classOf(classes, facts);
  const slots = {
    turns: `turns${suffix}`,
    frequencies: frequenciesSlot(suffix),
    cacheRows: `cache_rows${suffix}`,
  };
  if (window === undefined) {
    const maxPages = ceilDiv(cache.maxContext, PAGE);
    return { ...slots, pageTable: PAGE_TABLE, maxPages, pages: cache.pages };
  }
  if (cache.ring === undefined)
    throw new KernelError('plan', `the cache has no ring for a window of ${window}`);
  return { ...slots, pageTable: RING_TABLE, maxPages: cache.ring.pagesEach, pages: cache.ring.pages };
}

/** Slot of the page table of layers that see whole contexts. */
export const PAGE_TABLE = 'page_table';

/** Slot of the page table of layers that see a window. */
export const RING_TABLE = 'ring_table';

/** Slot of the rotary frequencies of a class. */
export function frequenciesSlot(suffix: string): string {
  return `rope_frequencies${suffix}`;
}

/** @throws KernelError when the layout has no such matrix. */
export function matrixOf(layout: WeightLayout, name: string): WeightMatrix {
  const matrix = layout.matrices.get(name);
  if (matrix === undefined) throw new KernelError('plan', `the weight layout has no matrix ${name}`);
  return matrix;
}
