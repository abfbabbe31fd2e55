/** A loaded model: its plans, its cache, and the public operations over them. */
import type { ModelConfig } from '../config/index.ts';
import { InputError, Step3Error } from '../errors.ts';
import { PAGE } from '../kernels/paged.ts';
import { planDraft } from '../model/draft.ts';
import type { Plan } from '../model/plan.ts';
import { type LogitRows, type PlanOptions, planDecode, planPrefill } from '../model/plans.ts';
import { PAGE_TABLE, RING_TABLE } from '../model/step.ts';
import { ceilDiv } from '../tensor.ts';
import type { ChatTemplate } from './chat/template.ts';
import type { Executor, PreparedPlan, ReadRequest } from './executor.ts';
import { type Generated, type GenerateOptions, generate } from './generate.ts';
import { awaitedLater } from './later.ts';
import { type LogitsOptions, logits } from './logits.ts';
import { CachePages, type SequencePages } from './pages.ts';
import type { TextCodec } from './text.ts';

/** Plans kept ready; each holds bind groups and a small uniform buffer. */
const MAX_PLANS = 24;

/** A model on a device. Operations run one after another; a second call waits for the first. */
export class Model {
  readonly config: ModelConfig;
  readonly tokenizer: TextCodec | undefined;
  /** Undefined for models without files, such as synthetic ones. */
  readonly chatTemplate: ChatTemplate | undefined;
  readonly executor: Executor;
  /** Most positions of one sequence, prompt and result together. */
  readonly maxContext: number;
  readonly maxBatch: number;
  /** Prompt tokens per prefill step. */
  readonly chunk: number;
  /** Most tokens that are drafted at a time: multi-token-prediction blocks that were loaded. */
  readonly draft: number;
  readonly pages: CachePages;
  /** Most new positions of one sequence in a step: what the rings of its cache have room for. @internal */
  readonly together: number;
  readonly #planning: PlanOptions;
  readonly #plans = new Map<string, Promise<PreparedPlan>>();
  #turn: Promise<void> = Promise.resolve();
  #disposed = false;

  constructor(parts: {
    config: ModelConfig;
    tokenizer: TextCodec | undefined;
    chatTemplate?: ChatTemplate | undefined;
    executor: Executor;
    planning: PlanOptions;
    chunk: number;
    /** Blocks that the layout holds; the cache has room for so many positions beyond the longest context. */
    draft?: number;
  }) {
    this.config = parts.config;
    this.tokenizer = parts.tokenizer;
    this.chatTemplate = parts.chatTemplate;
    this.executor = parts.executor;
    this.#planning = parts.planning;
    this.draft = parts.draft ?? 0;
    this.maxContext = parts.planning.cache.maxContext - this.draft;
    this.maxBatch = parts.planning.cache.sequences;
    this.chunk = parts.chunk;
    this.pages = new CachePages(parts.planning.cache);
    this.together = parts.planning.cache.ring === undefined ? Number.POSITIVE_INFINITY : this.chunk;
  }

  /**
   * Continues a prompt: yields every new token with its text, and returns the closing figures.
   *
   * A string prompt needs the checkpoint's tokenizer; token ids do not.
   *
   * @throws InputError for an empty prompt, tokens outside the vocabulary, a prompt past the context, bad options;
   *   DeviceLostError when the GPU goes away.
   */
  generate(prompt: string | readonly number[], options: GenerateOptions = {}): Generated {
    return this.generateBatch([prompt], options);
  }

  /**
   * Continues several prompts together; the results say which sequence they belong to. Sequence i samples with
   * seed + i.
   *
   * @throws as {@link Model.generate}
   */
  generateBatch(prompts: readonly (string | readonly number[])[], options: GenerateOptions = {}): Generated {
    const tokens = prompts.map((prompt) => this.#encode(prompt));
    return generate(this, tokens, options);
  }

  /**
   * Logits at every position: `[tokens, vocab_size]` per sequence, f32.
   *
   * @throws InputError for empty or too long sequences and tokens outside the vocabulary.
   */
  logits(
    sequences: readonly (readonly number[])[],
    options: LogitsOptions = {},
  ): Promise<Float32Array<ArrayBuffer>[]> {
    return logits(this, sequences, options);
  }

  /** Bytes on the device by purpose, and `total`. */
  bytes(): Readonly<Record<string, number>> {
    return this.executor.bytes();
  }

  /** Frees every byte on the device. The model cannot be used afterwards. */
  dispose(): void {
    this.#disposed = true;
    this.#plans.clear();
    this.executor.dispose();
  }

  /** Resolves when earlier operations have ended; the result must be called at the end of this one. @internal */
  async exclusive(): Promise<() => void> {
    const before = this.#turn;
    let release: () => void = () => {};
    this.#turn = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    if (this.#disposed) {
      release();
      throw new Step3Error('disposed', 'the model was disposed');
    }
    return release;
  }

  /** @internal */
  decodePlan(batch: number, context: number): Promise<PreparedPlan> {
    const bucket = this.bucket(context);
    return this.#prepared(`decode ${batch} ${bucket}`, () =>
      planDecode(this.config, this.#planning, batch, bucket),
    );
  }

  /** @internal */
  prefillPlan(tokens: number, context: number, rows: LogitRows): Promise<PreparedPlan> {
    const bucket = this.bucket(context);
    const key = `prefill ${tokens} ${bucket} ${rows.kind} ${rows.kind === 'picked' ? rows.rows : ''}`;
    return this.#prepared(key, () => planPrefill(this.config, this.#planning, tokens, bucket, rows));
  }

  /** A multi-token-prediction block over the rows of the step before; see planDraft. @internal */
  draftPlan(block: number, tokens: number, context: number, picked: number): Promise<PreparedPlan> {
    const bucket = this.bucket(context);
    return this.#prepared(`draft ${block} ${tokens} ${bucket} ${picked}`, () =>
      planDraft(this.config, this.#planning, block, tokens, bucket, picked),
    );
  }

  /** Writes 32-bit words into a slot. @internal */
  write(slot: string, words: Uint32Array | readonly number[], offset = 0): void {
    this.executor.write(slot, offset * 4, new Uint8Array(Uint32Array.from(words).buffer));
  }

  /** Queues a step; resolves with 32-bit words of one slot. @internal */
  step(prepared: PreparedPlan, read?: ReadRequest): Promise<Uint32Array<ArrayBuffer>> {
    const result = this.executor
      .run(prepared, read === undefined ? [] : [read])
      .then(([bytes]) => new Uint32Array(bytes?.buffer ?? new ArrayBuffer(0)));
    return awaitedLater(result);
  }

  /** Queues steps that follow each other, in one submit; resolves with 32-bit words of one slot after each. @internal */
  steps(prepared: readonly PreparedPlan[], read: ReadRequest): Promise<Uint32Array<ArrayBuffer>[]> {
    const results = this.executor
      .runAll(prepared, [read])
      .then((all) => all.map(([bytes]) => new Uint32Array(bytes.buffer)));
    return awaitedLater(results);
  }

  /** Page table rows of sequence `sequence`. @internal */
  writePages(sequence: number, { whole, ring }: SequencePages): void {
    const { cache } = this.#planning;
    this.#writeTable(PAGE_TABLE, sequence, whole, ceilDiv(cache.maxContext, PAGE));
    if (cache.ring !== undefined) this.#writeTable(RING_TABLE, sequence, ring, cache.ring.pagesEach);
  }

  #writeTable(name: string, sequence: number, pages: readonly number[], each: number): void {
    // Models without layers of one kind have no plan that makes its table.
    const bytes = this.maxBatch * each * 4;
    this.executor.ensure([{ name, type: 'u32', bytes, purpose: 'inputs' }]);
    this.write(name, pages, sequence * each);
  }

  /** Checks token ids against the vocabulary and the context. @internal */
  checkTokens(tokens: readonly number[], room: number): void {
    if (tokens.length === 0) throw new InputError('prompt', 'at least one token', 'none');
    if (tokens.length + room > this.maxContext) {
      throw new InputError('prompt', `at most ${this.maxContext - room} tokens (the context)`, tokens.length);
    }
    const bad = tokens.find((t) => !Number.isInteger(t) || t < 0 || t >= this.config.vocab_size);
    if (bad !== undefined) throw new InputError('prompt', `token ids below ${this.config.vocab_size}`, bad);
  }

  #encode(prompt: string | readonly number[]): readonly number[] {
    if (typeof prompt !== 'string') return prompt;
    if (this.tokenizer === undefined) {
      throw new InputError('prompt', 'token ids, since the checkpoint has no tokenizer.json', 'text');
    }
    return this.tokenizer.encode(prompt);
  }

  /** Contexts share plans by powers of two: slices beyond a sequence's end cost next to nothing. @internal */
  bucket(context: number): number {
    const power = 2 ** Math.ceil(Math.log2(Math.max(256, context)));
    return Math.min(power, Math.max(this.maxContext, context));
  }

  #prepared(key: string, make: () => Plan): Promise<PreparedPlan> {
    let prepared = this.#plans.get(key);
    if (prepared === undefined) {
      // A plan that cannot be made is an error of whoever waits for it, as one that cannot be prepared.
      prepared = (async () => this.executor.prepare(make()))();
    }
    // Most recently used last; the first is dropped when there are too many.
    this.#plans.delete(key);
    this.#plans.set(key, prepared);
    if (this.#plans.size > MAX_PLANS) {
      const [oldest, dropped] = this.#plans.entries().next().value as [string, Promise<PreparedPlan>];
      this.#plans.delete(oldest);
      awaitedLater(dropped.then((plan) => this.executor.release(plan)));
    }
    prepared.catch(() => this.#plans.delete(key));
    return prepared;
  }
}
