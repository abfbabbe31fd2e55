/** Text in and out: the checkpoint's tokenizer, streaming of partial characters, stop strings. */
import { Tokenizer } from '@huggingface/tokenizers';
import { WeightError } from '../errors.ts';
import { type FileSource, readText } from '../weights/source.ts';

/** A tokenizer as generation needs it. */
export interface TextCodec {
  encode(text: string): number[];
  /** Text of tokens; special ones have none. */
  decode(tokens: readonly number[]): string;
  /** As {@link encode}, without tokens that a post-processor would add: chat templates write them out. */
  encodePrompt(text: string): number[];
  /** As {@link decode}, special tokens included. */
  decodeAll(tokens: readonly number[]): string;
  /** The token that is exactly this text, special ones included. */
  tokenId(text: string): number | undefined;
  /** One more than the largest token id. */
  readonly size: number;
}

const TOKENIZER_FILE = 'tokenizer.json';

/**
 * The tokenizer of a checkpoint folder, or undefined when it has none.
 *
 * @throws WeightError when the files are malformed, or name tokens beyond `vocabSize`.
 */
export async function loadTokenizer(source: FileSource, vocabSize: number): Promise<TextCodec | undefined> {
  const text = await readText(source, TOKENIZER_FILE);
  if (text === undefined) return undefined;
  const config = await readText(source, 'tokenizer_config.json');
  let tokenizer: Tokenizer;
  let size: number;
  try {
    const json = JSON.parse(text);
    tokenizer = new Tokenizer(json, config === undefined ? {} : JSON.parse(config));
    size = tokenIdLimit(json);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new WeightError(TOKENIZER_FILE, undefined, 'a tokenizer of a known kind', found, { cause });
  }
  if (size > vocabSize) {
    throw new WeightError(
      TOKENIZER_FILE,
      undefined,
      `token ids below vocab_size ${vocabSize}`,
      `id ${size - 1}`,
    );
  }
  const decode = (tokens: readonly number[], skip: boolean) =>
    // The library refuses an empty list.
    tokens.length === 0
      ? ''
      : tokenizer.decode([...tokens], { skip_special_tokens: skip, clean_up_tokenization_spaces: false });
  return {
    encode: (input) => tokenizer.encode(input).ids,
    decode: (tokens) => decode(tokens, true),
    encodePrompt: (input) => tokenizer.encode(input, { add_special_tokens: false }).ids,
    decodeAll: (tokens) => decode(tokens, false),
    tokenId: (text) => tokenizer.token_to_id(text),
    size,
  };
}

/** One more than the largest id in a parsed tokenizer.json. */
function tokenIdLimit(json: { model?: { vocab?: unknown }; added_tokens?: { id?: unknown }[] }): number {
  const vocab = json.model?.vocab;
  let largest = -1;
  if (Array.isArray(vocab)) largest = vocab.length - 1;
  else if (typeof vocab === 'object' && vocab !== null) {
    for (const id of Object.values(vocab)) if (typeof id === 'number' && id > largest) largest = id;
  }
  for (const { id } of json.added_tokens ?? []) if (typeof id === 'number' && id > largest) largest = id;
  return largest + 1;
}

/** Turns tokens into text as they come: holds back unfinished characters and what may become a stop string. */
export class TextStream {
  readonly #codec: TextCodec;
  readonly #stops: readonly string[];
  #tokens: number[] = [];
  /** Characters of the decoded tokens that were moved to `#held` or given out. */
  #taken = 0;
  #held = '';

  constructor(codec: TextCodec, stops: readonly string[]) {
    this.#codec = codec;
    this.#stops = stops.filter((stop) => stop !== '');
  }

  /** Text that is now certain, and whether a stop string was reached (its text and what follows are dropped). */
  push(token: number): { text: string; stopped: boolean } {
    this.#tokens.push(token);
    const decoded = this.#codec.decode(this.#tokens);
    // A trailing replacement character may be the start of a character that the next token completes.
    const whole = decoded.replace(/\uFFFD+$/, '');
    if (whole.length > this.#taken) {
      this.#held += whole.slice(this.#taken);
      this.#taken = whole.length;
      this.#restart(decoded);
    }
    const at = this.#firstStop();
    if (at >= 0) {
      const text = this.#held.slice(0, at);
      this.#held = '';
      return { text, stopped: true };
    }
    const keep = this.#possibleStop();
    const text = this.#held.slice(0, this.#held.length - keep);
    this.#held = this.#held.slice(this.#held.length - keep);
    return { text, stopped: false };
  }

  /** What was held back, once no more tokens come. */
  end(): string {
    const rest = this.#held + this.#codec.decode(this.#tokens).slice(this.#taken);
    this.#held = '';
    this.#taken += rest.length;
    return rest;
  }

  /** Forgets old tokens at a character boundary, so that decoding stays cheap; the last few keep their context. */
  #restart(decoded: string): void {
    if (this.#tokens.length < 64 || decoded.length !== this.#taken) return;
    const kept = this.#tokens.slice(-8);
    const text = this.#codec.decode(kept);
    if (text.includes('\uFFFD')) return;
    this.#tokens = kept;
    this.#taken = text.length;
  }

  #firstStop(): number {
    const places = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    return places.length === 0 ? -1 : Math.min(...places);
  }

  /** Length of the longest end of the held text that begins a stop string. */
  #possibleStop(): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, this.#held.length); n > longest; n--) {
        if (this.#held.endsWith(stop.slice(0, n))) longest = n;
      }
    }
    return longest;
  }
}
