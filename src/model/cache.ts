/** How much cache the sequences of a model need: pages for whole contexts, and rings of pages for windows. */
import { layerClasses, type ModelConfig } from '../config/index.ts';
import { type KvFormat, PAGE } from '../kernels/paged.ts';
import { ceilDiv } from '../tensor.ts';

/** The cache that steps of one model share. */
export interface CacheShape {
  /** Most sequences at a time. */
  readonly sequences: number;
  /** Most positions of one sequence. */
  readonly maxContext: number;
  /** Pages of {@link PAGE} positions that all sequences share, in every layer that sees whole contexts. */
  readonly pages: number;
  /** Pages of layers that see a window: what they hold wraps around. Absent where there are no such layers. */
  readonly ring?: RingShape;
  readonly kv: KvFormat;
}

/** Pages of the layers that see a window. */
export interface RingShape {
  /** Pages of one sequence: entries of its page table. */
  readonly pagesEach: number;
  /** Pages that all sequences share. */
  readonly pages: number;
  /** Positions that the widest window holds, the one that looks back included. */
  readonly window: number;
}

/**
 * The cache for `sequences` sequences of up to `maxContext` positions.
 *
 * `together`: most new positions of one sequence in a step, whose keys and values are written before the first of them
 * looks back; a ring holds them beside the window of the first.
 */
export function cacheShape(
  config: ModelConfig,
  blocks: number,
  size: Pick<CacheShape, 'sequences' | 'maxContext' | 'kv'> & { readonly together: number },
): CacheShape {
  const { sequences, maxContext, kv, together } = size;
  const each = ceilDiv(maxContext, PAGE);
  const windows = layerClasses(config, blocks).flatMap(({ window }) =>
    window === undefined ? [] : [window],
  );
  const shape = { sequences, maxContext, pages: each * sequences, kv };
  if (windows.length === 0) return shape;
  const window = Math.max(...windows);
  const pagesEach = Math.min(each, ceilDiv(window - 1 + together, PAGE));
  return { ...shape, ring: { pagesEach, pages: pagesEach * sequences, window } };
}
