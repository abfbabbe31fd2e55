/**
 * Speculative decoding: multi-token-prediction blocks draft the next tokens, one step of the trunk over all of them
 * verifies, and the drafts that greedy decoding would have chosen too are kept, with one token more from the trunk.
 */
import { PlansAhead } from './ahead.ts';
import type { Model } from './model.ts';
import { encodeSampling, OPTION_WORDS } from './sampling.ts';

/** How many drafted tokens were verified, and how many of them were kept. */
export interface DraftFigures {
  readonly drafted: number;
  readonly accepted: number;
}

/** A row of a step: the position of a token in one of the sequences. */
export interface Row {
  readonly sequence: number;
  readonly position: number;
}

/** A sequence as drafting sees it. */
export interface DraftedSequence {
  /** Its tokens so far; the last one's keys and values are not yet in the cache. */
  readonly text: number[];
  readonly finished: boolean;
  /** Positions that it may come to have. */
  readonly limit: number;
}

/**
 * Drafts for the sequences of one generation.
 *
 * Block k reads, at position p, the hidden state of p and the token at p + k + 1; where that is still a draft itself,
 * the block's cache keeps what it made of it even if the draft is then rejected. Later drafts may suffer from that, the
 * result cannot: every token comes from the trunk.
 */
export class Drafter {
  readonly #model: Model;
  /** Tokens that are drafted at a time. */
  readonly #count: number;
  readonly #sequences: readonly DraftedSequence[];
  /** Drafts after the end of each text; empty before the first. */
  #drafts: number[][];
  readonly #ahead: PlansAhead;
  #drafted = 0;
  #accepted = 0;

  constructor(model: Model, count: number, sequences: readonly DraftedSequence[]) {
    this.#model = model;
    this.#count = count;
    this.#sequences = sequences;
    this.#drafts = sequences.map(() => []);
    this.#ahead = new PlansAhead(model, (context) => this.#plans(context));
  }

  get figures(): DraftFigures {
    return { drafted: this.#drafted, accepted: this.#accepted };
  }

  /** Makes the first plans, and the inputs that stay the same. `longest`: positions of the longest prompt. */
  async prepare(longest: number): Promise<void> {
    const rows = this.#rows;
    await this.#plans(longest + this.#count + 1);
    const options = new Uint32Array(rows * OPTION_WORDS);
    for (let row = 0; row < rows; row++) options.set(encodeSampling({}), row * OPTION_WORDS);
    this.#model.write('greedy_options', options);
    this.#model.write(
      'greedy_rows',
      Array.from({ length: rows }, (_, row) => row),
    );
  }

  /** Rows of a step that verifies. */
  get #rows(): number {
    return this.#sequences.length * (this.#count + 1);
  }

  /** The plans of steps whose positions are all below `context`. */
  async #plans(context: number): Promise<void> {
    await this.#model.prefillPlan(this.#rows, context, { kind: 'greedy' });
    for (let block = 0; block < this.#count; block++) {
      await this.#model.draftPlan(block, this.#rows, context, this.#sequences.length);
    }
  }

  /**
   * Runs every block over the rows of the step that ran last. With `picks`, a row for each sequence (the last of its
   * text but one, whose successor is known), new drafts follow.
   */
  async draft(rows: readonly Row[], picks: readonly number[]): Promise<void> {
    const model = this.#model;
    const drafts: number[][] = this.#sequences.map(() => []);
    const tokenAt = (sequence: number, position: number): number => {
      const { text } = this.#sequences[sequence];
      // Beyond what is drafted stand rows whose results nobody reads.
      return text[position] ?? drafts[sequence][position - text.length] ?? text[text.length - 1];
    };
    const context = Math.max(...rows.map((row) => row.position)) + 1;
    for (let block = 0; block < this.#count; block++) {
      const plan = await model.draftPlan(block, rows.length, context, picks.length);
      model.write(
        'draft_ids',
        rows.map(({ sequence, position }) => tokenAt(sequence, position + block + 1)),
      );
      if (picks.length === 0) {
        await model.step(plan);
        continue;
      }
      model.write('picks', picks);
      const tokens = await model.step(plan, { slot: 'greedy_tokens', bytes: picks.length * 4 });
      for (const [i, pick] of picks.entries()) drafts[rows[pick].sequence].push(tokens[i]);
    }
    this.#drafts = drafts;
  }

  /** Verifies the drafts in one step and makes new ones; resolves with the new tokens of every sequence. */
  async next(): Promise<number[][]> {
    const model = this.#model;
    const count = this.#count;
    const before = this.#drafts;
    const rows: Row[] = [];
    const ids: number[] = [];
    for (const [sequence, { text, finished }] of this.#sequences.entries()) {
      // A finished sequence idles at the start of its own pages.
      const first = finished ? 0 : text.length - 1;
      for (let i = 0; i <= count; i++) {
        rows.push({ sequence, position: first + i });
        ids.push(i === 0 ? text[text.length - 1] : (before[sequence][i - 1] ?? text[text.length - 1]));
      }
    }
    const context = Math.max(...rows.map((row) => row.position)) + 1;
    const plan = await model.prefillPlan(rows.length, context, { kind: 'greedy' });
    model.write('token_ids', ids);
    model.write(
      'places',
      rows.flatMap(({ sequence, position }) => [sequence, position]),
    );
    const verified = model.step(plan, { slot: 'greedy_tokens', bytes: rows.length * 4 });
    this.#ahead.begin(context, Math.max(...this.#sequences.map((s) => s.limit)) + count);
    const greedy = await verified;
    const picks: number[] = [];
    const added = this.#sequences.map(({ text, finished }, sequence) => {
      const row = sequence * (count + 1);
      let kept = 0;
      while (kept < count && greedy[row + kept] === ids[row + kept + 1]) kept++;
      picks.push(row + kept);
      if (finished) return [];
      if (before[sequence].length > 0) {
        this.#drafted += count;
        this.#accepted += kept;
      }
      const tokens = [...greedy.subarray(row, row + kept + 1)];
      text.push(...tokens);
      return tokens;
    });
    await this.draft(rows, picks);
    return added;
  }
}
