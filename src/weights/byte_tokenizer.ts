/**
 * A byte-level tokenizer for synthetic checkpoints, in the `tokenizer.json` format: one token a byte, an end-of-text
 * token, and filler up to the vocabulary, so that every token a model may choose has a text.
 */
import { InputError } from '../errors.ts';

/** The two files of a tokenizer, before JSON.stringify. */
export interface TokenizerFiles {
  /** `tokenizer.json` */
  readonly tokenizer: Record<string, unknown>;
  /** `tokenizer_config.json` */
  readonly config: Record<string, unknown>;
}

/** Smallest vocabulary that holds all bytes and the end-of-text token. */
export const MIN_BYTE_VOCAB = 257;

/** Beyond this many tokens filler is left out: the file would grow by 20 bytes a token, to no use. */
const MAX_FILLED_VOCAB = 2 ** 18;

const END_OF_TEXT = '<|endoftext|>';

/** Bytes as letters, text split as GPT-2 does. */
export const BYTE_LEVEL = {
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
} as const;

/** The parts of a `tokenizer.json` that decode and merge byte-level tokens. */
export function byteLevelBpe(
  vocab: Readonly<Record<string, number>>,
  merges: readonly unknown[],
): Record<string, unknown> {
  return {
    decoder: BYTE_LEVEL,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  };
}

/**
 * The tokenizer for a vocabulary of `vocabSize` tokens. Bytes take the lowest numbers, skipping `endOfText`; with the
 * default each byte is its own token number. Filler token n is the text `<n>`, which no input encodes to.
 * @throws InputError when the vocabulary is smaller than {@link MIN_BYTE_VOCAB} or `endOfText` lies outside it
 */
export function byteTokenizer(vocabSize: number, endOfText = 256): TokenizerFiles {
  if (!Number.isSafeInteger(vocabSize) || vocabSize < MIN_BYTE_VOCAB) {
    throw new InputError('vocab_size', `at least ${MIN_BYTE_VOCAB} for a byte-level tokenizer`, vocabSize);
  }
  if (!Number.isSafeInteger(endOfText) || endOfText < 0 || endOfText >= vocabSize) {
    throw new InputError('eos_token_id', `a token number below ${vocabSize}`, endOfText);
  }
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [
        {
          id: endOfText,
          content: END_OF_TEXT,
          single_word: false,
          lstrip: false,
          rstrip: false,
          normalized: false,
          special: true,
        },
      ],
      normalizer: null,
      pre_tokenizer: BYTE_LEVEL,
      post_processor: null,
      ...byteLevelBpe(vocabulary(vocabSize, endOfText), []),
    },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      eos_token: END_OF_TEXT,
      clean_up_tokenization_spaces: false,
    },
  };
}

function vocabulary(vocabSize: number, endOfText: number): Record<string, number> {
  const texts = byteCharacters();
  const vocab: Record<string, number> = {};
  const last = vocabSize <= MAX_FILLED_VOCAB ? vocabSize : MIN_BYTE_VOCAB;
  for (let id = 0, byte = 0; id < last; id++) {
    if (id === endOfText) vocab[END_OF_TEXT] = id;
    else vocab[byte < texts.length ? texts[byte++] : `<${id}>`] = id;
  }
  vocab[END_OF_TEXT] = endOfText;
  return vocab;
}

/**
 * The character that stands for each byte in byte-level vocabularies: itself when it is visible, else one of those from
 * U+0100, in order (the convention that GPT-2's tokenizer introduced).
 */
function byteCharacters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const visible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(visible ? byte : next++);
  });
}
