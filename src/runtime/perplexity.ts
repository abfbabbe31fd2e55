/** Perplexity of a text under a model. */
import { InputError } from '../errors.ts';
import type { Model } from './model.ts';

/** Options of {@link perplexity}. */
export interface PerplexityOptions {
  readonly window?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What {@link perplexity} found. */
export interface PerplexityResult {
  readonly tokens: number;
  /** Tokens that were predicted: all but the first of each window. */
  readonly predicted: number;
  /** Sum of negative log-likelihoods, in nats. */
  readonly nats: number;
  /** UTF-8 bytes of the text, separators not counted. */
  readonly bytes: number;
  readonly perplexity: number;
  /** Bits per byte of text. */
  readonly bitsPerByte: number;
}

/** A line that separates documents. */
const SEPARATOR = /^<\|endoftext\|>$/m;

/**
 * Token ids of a text of documents separated by lines `<|endoftext|>`: the checkpoint's end-of-text id before every
 * document and after the last; a document's last newline is not part of it.
 *
 * @throws InputError when the model has no tokenizer or the text is empty.
 */
export function textTokens(model: Model, text: string): { tokens: number[]; bytes: number } {
  const { tokenizer } = model;
  if (tokenizer === undefined) throw new InputError('text', 'a checkpoint with a tokenizer.json', 'none');
  const end = model.config.eos_token_ids.slice(0, 1);
  const documents = text
    .split(SEPARATOR)
    .map((part) => part.replace(/^\n/, '').replace(/\n$/, ''))
    .filter((part) => part !== '');
  if (documents.length === 0) throw new InputError('text', 'at least one document', 'an empty text');
  const tokens = documents.flatMap((document) => [...end, ...tokenizer.encode(document)]);
  const bytes = documents.reduce((sum, document) => sum + new TextEncoder().encode(document).length, 0);
  return { tokens: [...tokens, ...end], bytes };
}

/**
 * Perplexity over consecutive windows of `window` tokens (the model's context when absent) that do not overlap: exp of the mean negative
 * log-likelihood of every token but the first of each window. Long texts need no more memory than one window.
 *
 * @throws InputError as {@link textTokens}, or when there is nothing to predict.
 */
export async function perplexity(
  model: Model,
  text: string,
  options: PerplexityOptions = {},
): Promise<PerplexityResult> {
  const { window: size = model.maxContext, onProgress } = options;
  const { tokens, bytes } = textTokens(model, text);
  let nats = 0;
  let predicted = 0;
  for (let begin = 0; begin < tokens.length; begin += size) {
    const window = tokens.slice(begin, begin + size);
    if (window.length > 1) {
      nats += await windowNats(model, window);
      predicted += window.length - 1;
    }
    onProgress?.(begin + window.length, tokens.length);
  }
  if (predicted === 0) throw new InputError('text', 'at least two tokens', tokens.length);
  return {
    tokens: tokens.length,
    predicted,
    nats,
    bytes,
    perplexity: Math.exp(nats / predicted),
    bitsPerByte: nats / Math.LN2 / bytes,
  };
}

/** Negative log-likelihood of all tokens of a window but the first, given those before. */
async function windowNats(model: Model, window: readonly number[]): Promise<number> {
  const V = model.config.vocab_size;
  const [logits] = await model.logits([window]);
  let nats = 0;
  for (let i = 1; i < window.length; i++) {
    const row = logits.subarray((i - 1) * V, i * V);
    let max = Number.NEGATIVE_INFINITY;
    for (const value of row) if (value > max) max = value;
    let sum = 0;
    for (const value of row) sum += Math.exp(value - max);
    nats += max + Math.log(sum) - row[window[i]];
  }
  return nats;
}
