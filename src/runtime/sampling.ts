/** How the next token is chosen, as callers say it and as the `sample` kernel reads it. */
import { InputError } from '../errors.ts';

/** Sampling options; the order of application is that of Hugging Face transformers. */
export interface SamplingOptions {
  /** 0 = greedy: the most probable token. Default 0. */
  readonly temperature?: number | undefined;
  /** Keep the k most probable tokens; 0 = all. */
  readonly topK?: number | undefined;
  /** Keep the fewest most probable tokens whose probabilities reach this sum; 1 = all. */
  readonly topP?: number | undefined;
  /** Keep tokens at least this many times as probable as the most probable one; 0 = all. */
  readonly minP?: number | undefined;
  /** Divides the (positive) logits of tokens seen before; 1 = none. */
  readonly repetitionPenalty?: number | undefined;
  /** Same seed, same text. An integer below 2^53; default 0. */
  readonly seed?: number | undefined;
}

/** 32-bit words per sequence in the slot `sampling_options`. */
export const OPTION_WORDS = 8;

/** @throws InputError naming the option. */
export function encodeSampling(options: SamplingOptions): Uint32Array {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed = 0 } = options;
  range('temperature', temperature, temperature >= 0, 'a number >= 0');
  range('topK', topK, Number.isInteger(topK) && topK >= 0 && topK < 2 ** 32, 'an integer >= 0');
  range('topP', topP, topP > 0 && topP <= 1, 'a number in (0, 1]');
  range('minP', minP, minP >= 0 && minP <= 1, 'a number in [0, 1]');
  range('repetitionPenalty', repetitionPenalty, repetitionPenalty > 0, 'a number > 0');
  range('seed', seed, Number.isSafeInteger(seed) && seed >= 0, 'an integer in 0..2^53-1');
  const words = new Uint32Array(OPTION_WORDS);
  const floats = new Float32Array(words.buffer);
  floats[0] = temperature;
  words[1] = topK;
  floats[2] = topP;
  floats[3] = minP;
  floats[4] = repetitionPenalty;
  words[5] = seed % 2 ** 32;
  words[6] = Math.floor(seed / 2 ** 32);
  return words;
}

function range(field: string, value: number, good: boolean, expected: string): void {
  if (!good || !Number.isFinite(value)) throw new InputError(field, expected, value);
}
