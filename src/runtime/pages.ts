/** Pages of the KV cache: which belong to which sequence. */
import { InputError } from '../errors.ts';
import { PAGE } from '../kernels/paged.ts';
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
