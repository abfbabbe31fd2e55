/** Pages of the KV cache: which belong to which sequence, and which are kept for prompts that begin alike. */
import { InputError } from '../errors.ts';
import { PAGE } from '../kernels/paged.ts';
import type { CacheShape, RingShape } from '../model/cache.ts';
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
   * Makes `pages` as many as `count`: the last ones go back, or others follow them.
   *
   * @throws InputError when the pool has too few; `pages` are as they were then.
   */
  resize(pages: readonly number[], count: number): readonly number[] {
    const more = count - pages.length;
    if (more > this.#free.length) {
      const free = this.#free.length + pages.length;
      throw new InputError('context', `at most ${free * PAGE} free cache positions`, count * PAGE);
    }
    if (more > 0) return [...pages, ...this.#free.splice(this.#free.length - more, more)];
    this.release(pages.slice(count));
    return pages.slice(0, count);
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

/** A sequence whose pages outlast its generation. */
export interface KeptSequence {
  readonly pages: SequencePages;
  /** Tokens whose keys and values are there, from position 0 on. */
  readonly tokens: readonly number[];
  /** Positions that were written at all, from 0 on; rings hold the last of them. */
  readonly written: number;
  /** Blocks that drafted along, so that their caches are filled too. */
  readonly draft: number;
}

/** Pages of a sequence, and how many of its first positions they hold already. */
export interface ResumedPages {
  readonly pages: SequencePages;
  readonly cached: number;
}

/** The pages of a cache. */
export class CachePages {
  readonly whole: PagePool;
  /** Empty where no layer has a window. */
  readonly ring: PagePool;
  readonly #ring: RingShape | undefined;
  /** The oldest first. */
  #kept: readonly KeptSequence[] = [];

  constructor({ pages, ring }: Pick<CacheShape, 'pages' | 'ring'>) {
    this.whole = new PagePool(pages);
    this.ring = new PagePool(ring?.pages ?? 0);
    this.#ring = ring;
  }

  /**
   * Pages for a sequence of `positions` positions; rings never grow beyond their window. Kept sequences give way, the
   * oldest first.
   *
   * @throws InputError when there are too few.
   */
  take(positions: number): SequencePages {
    return this.#resize({ whole: [], ring: [] }, positions);
  }

  release({ whole, ring }: SequencePages): void {
    this.whole.release(whole);
    this.ring.release(ring);
  }

  /** Leaves pages to sequences that begin alike, until others need them. */
  keep(kept: KeptSequence): void {
    const whole = this.whole.resize(kept.pages.whole, ceilDiv(kept.tokens.length, PAGE));
    this.#kept = [...this.#kept, { ...kept, pages: { ...kept.pages, whole } }];
  }

  /**
   * As {@link take}, for a sequence that begins with `prompt`: it takes over the pages of the kept sequence that has most of it
   * in common, but for the last token, which must be computed to go on from.
   *
   * `draft`: blocks that will draft along. Of a kept sequence at least half must be in common: one that only begins alike, as
   * under the same system prompt, is left to the conversation that it belongs to.
   *
   * @throws as {@link CachePages.take}
   */
  resume(prompt: readonly number[], positions: number, draft: number): ResumedPages {
    let cached = 0;
    let found: KeptSequence | undefined;
    for (const kept of this.#kept) {
      const common = Math.min(commonLength(prompt, kept.tokens), prompt.length - 1);
      const usable = common * 2 >= kept.tokens.length && kept.draft >= draft && this.#holds(kept, common);
      if (!usable || common <= cached) continue;
      cached = common;
      found = kept;
    }
    if (found === undefined) return { pages: this.take(positions), cached };
    this.#kept = this.#kept.filter((kept) => kept !== found);
    return { pages: this.#resize(found.pages, positions), cached };
  }

  /** Whether rings still have what position `next` looks back at, after all that was written behind it. */
  #holds({ written }: KeptSequence, next: number): boolean {
    if (this.#ring === undefined) return true;
    const first = Math.max(0, next + 1 - this.#ring.window);
    return first + this.#ring.pagesEach * PAGE >= written;
  }

  #resize(own: SequencePages, positions: number): SequencePages {
    const count = ceilDiv(positions, PAGE);
    const ringCount = Math.min(count, this.#ring?.pagesEach ?? 0);
    const short = () =>
      count - own.whole.length > this.whole.free || ringCount - own.ring.length > this.ring.free;
    while (short() && this.#kept.length > 0) {
      this.release(this.#kept[0].pages);
      this.#kept = this.#kept.slice(1);
    }
    let { whole } = own;
    try {
      whole = this.whole.resize(whole, count);
      return { whole, ring: this.ring.resize(own.ring, ringCount) };
    } catch (error) {
      this.release({ whole, ring: own.ring });
      throw error;
    }
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  let n = 0;
  while (n < most && a[n] === b[n]) n++;
  return n;
}
