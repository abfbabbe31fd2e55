/** Rows of logits, with the options and the seen tokens of their sequences, as the kernels of sampling bind them. */
import { KernelError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import type { BindingSpec, ReferenceIo } from './kernel.ts';

/** The rows of a call. */
export interface LogitRowsParams {
  /** Rows of logits, each of another sequence. */
  readonly rows: number;
  /** vocab_size. */
  readonly vocab: number;
  /** Elements from one row of logits to the next. */
  readonly logitsStride: number;
  /** Sequences that options and seen tokens are kept for. */
  readonly sequences: number;
}

/** A draw goes through 4 blocks of 256 chunks of at most 256 tokens. */
const MAX_VOCAB = 4 * 256 * 256;

/** 32-bit words of a sequence in `options`. */
const OPTION_WORDS = 8;

/** Options of one sequence, as they stand in its words of `options`. */
export interface Options {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly penalty: number;
  readonly seedLow: number;
  readonly seedHigh: number;
}

/** @throws KernelError naming the parameter when the rows are not supported. */
export function checkLogitRows(kernel: string, p: LogitRowsParams): void {
  if (!(p.vocab >= 1 && p.vocab <= MAX_VOCAB))
    throw new KernelError(kernel, `vocab: expected 1..${MAX_VOCAB}, got ${p.vocab}`);
  if (p.logitsStride < p.vocab || p.logitsStride % 4 !== 0)
    throw new KernelError(
      kernel,
      `logitsStride: expected a multiple of 4 from ${p.vocab}, got ${p.logitsStride}`,
    );
  if (!(p.rows >= 1 && p.rows <= p.sequences))
    throw new KernelError(kernel, `rows: expected 1..${p.sequences}, got ${p.rows}`);
}

/** What is bound for the rows of a call, and for the sequences they belong to. */
export interface LogitRows {
  readonly logits: Float64Array;
  /** Sequence of every row. */
  readonly row_sequences: Uint32Array;
  readonly options: Uint32Array;
  /** A bit per token of every sequence. */
  readonly seen: Uint32Array;
}

/** Their bindings, with `seen` as the kernel uses it. */
export function logitRowsBindings(
  p: LogitRowsParams,
  seen: 'in' | 'inout',
): Record<keyof LogitRows, BindingSpec> {
  return {
    logits: { type: 'f32', dims: [p.rows, p.logitsStride], cols: p.vocab, use: 'in' },
    row_sequences: { type: 'u32', dims: [p.rows], use: 'in' },
    options: { type: 'u32', dims: [p.sequences, OPTION_WORDS], use: 'in' },
    seen: { type: 'u32', dims: [p.sequences, ceilDiv(p.vocab, 32)], use: seen },
  };
}

/** The same as a reference reads them. */
export function logitRowsOf(io: ReferenceIo): LogitRows {
  return {
    logits: io.f('logits'),
    row_sequences: io.u('row_sequences'),
    options: io.u('options'),
    seen: io.u('seen'),
  };
}

/** A row of a call. */
export interface LogitRow {
  readonly sequence: number;
  readonly logits: Float64Array;
  /** A bit per token; a view, as the logits are. */
  readonly seen: Uint32Array;
  readonly options: Options;
}

/** Row `r`. */
export function logitRow(p: LogitRowsParams, r: number, values: LogitRows): LogitRow {
  const sequence = values.row_sequences[r];
  const words = ceilDiv(p.vocab, 32);
  return {
    sequence,
    logits: values.logits.subarray(r * p.logitsStride, r * p.logitsStride + p.vocab),
    seen: values.seen.subarray(sequence * words, (sequence + 1) * words),
    options: decodeOptions(values.options, sequence),
  };
}

function decodeOptions(words: Uint32Array, sequence: number): Options {
  const own = words.slice(sequence * OPTION_WORDS, (sequence + 1) * OPTION_WORDS);
  const [temperature, , topP, minP, penalty] = new Float32Array(own.buffer);
  return { temperature, topK: own[1], topP, minP, penalty, seedLow: own[5], seedHigh: own[6] };
}

/** Logit of token `t` after the repetition penalty. */
export function penalised({ logits, seen, options }: LogitRow, t: number): number {
  const l = logits[t];
  if (((seen[t >>> 5] >>> (t & 31)) & 1) === 0) return l;
  return l > 0 ? l / options.penalty : l * options.penalty;
}

/** Bytes of a row's options, and of the logits and the seen tokens of a row. */
export function rowBytes(vocab: number): { readonly options: number; readonly logits: number } {
  return { options: OPTION_WORDS * 4, logits: vocab * 4 + ceilDiv(vocab, 32) * 4 };
}

/** Options of test cases unless they say otherwise: off. */
const OFF: Options = { temperature: 0, topK: 0, topP: 1, minP: 0, penalty: 1, seedLow: 0, seedHigh: 0 };

/** Writes the options of a sequence into `words`. */
export function encodeOptions(words: Uint32Array, sequence: number, options: Partial<Options>): void {
  const o = { ...OFF, ...options };
  const own = new Uint32Array(OPTION_WORDS);
  new Float32Array(own.buffer).set([o.temperature, 0, o.topP, o.minP, o.penalty]);
  own[1] = o.topK;
  own[5] = o.seedLow;
  own[6] = o.seedHigh;
  words.set(own, sequence * OPTION_WORDS);
}

/** Rows for tests: poison for logits, sequences in no particular order, wild options, every fourth token seen. */
export function randomLogitRows(p: LogitRowsParams, random: () => number): LogitRows {
  const word = (): number => Math.floor(random() * 2 ** 32);
  const sequences = Uint32Array.from({ length: p.sequences }, (_, s) => s);
  for (let s = p.sequences - 1; s > 0; s--) {
    const other = Math.floor(random() * (s + 1));
    [sequences[s], sequences[other]] = [sequences[other], sequences[s]];
  }
  return {
    logits: new Float64Array(p.rows * p.logitsStride).fill(Number.NaN),
    row_sequences: sequences.slice(0, p.rows),
    options: Uint32Array.from({ length: p.sequences * OPTION_WORDS }, word),
    seen: Uint32Array.from({ length: p.sequences * ceilDiv(p.vocab, 32) }, () => (word() & word()) >>> 0),
  };
}
