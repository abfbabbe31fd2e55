/** Pages of the KV cache: which belong to which sequence. */
import { InputError } from '../errors.ts';
import { PAGE } from '../kernels/paged.ts';
import type { CacheShape } from '../model/cache.ts';
import { ceilDiv } from '../tensor.ts';

/** Hands out pages of a fixed pool; sequences own them until released. */
export class PagePool {
  readonly pages: number;
  readonly #free: number[];

  constructor(pages: number) {
    this.pages = pages;
    this.#free = Array.from({ length: pages }, (_, i) => pages - 1 - i);
  }

  get free(): number {
    return this.#free.length;
  }

  /**
   * Pages for `positions` positions.
   *
   * @throws InputError when the pool has too few.
   */
  take(positions: number): number[] {
    const count = ceilDiv(positions, PAGE);
    if (count > this.#free.length) {
      throw new InputError('context', `at most ${this.#free.length * PAGE} free cache positions`, positions);
    }
    return this.#free.splice(this.#free.length - count, count);
  }

  release(pages: readonly number[]): void {
    this.#free.push(...pages);
  }
}

/** Pages of one sequence: of layers that see its whole context, and of those that see a window. */
export interface SequencePages {
  readonly whole: readonly number[];
  readonly ring: readonly number[];
}

/** The pages of a cache. */
export class CachePages {
  readonly whole: PagePool;
  /** Empty where no layer has a window. */
  readonly ring: PagePool;
  readonly #ringEach: number;

  constructor({ pages, ring }: Pick<CacheShape, 'pages' | 'ring'>) {
    this.whole = new PagePool(pages);
    this.ring = new PagePool(ring?.pages ?? 0);
    this.#ringEach = ring?.pagesEach ?? 0;
  }

  /**
   * Pages for a sequence of `positions` positions; rings never grow beyond their window.
   *
   * @throws InputError when there are too few.
   */
  take(positions: number): SequencePages {
    const whole = this.whole.take(positions);
    try {
      return { whole, ring: this.ring.take(Math.min(positions, this.#ringEach * PAGE)) };
    } catch (error) {
      this.whole.release(whole);
      throw error;
    }
  }

  release({ whole, ring }: SequencePages): void {
    this.whole.release(whole);
    this.ring.release(ring);
  }
}
