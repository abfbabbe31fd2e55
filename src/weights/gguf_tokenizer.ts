/** The tokenizer that a GGUF file holds, as the `tokenizer.json` and `tokenizer_config.json` of a folder. */
import { BYTE_LEVEL, byteLevelBpe } from './byte_tokenizer.ts';
import type { Metadata } from './gguf_metadata.ts';

/** `tokenizer.ggml.token_type` numbers. */
export const TOKEN_TYPES = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;

/** Splits text before byte-level merging, by `tokenizer.ggml.pre`. */
export const PRE_TOKENIZERS: Readonly<Record<string, object>> = {
  'deepseek-v3': sequence(
    '\\p{N}{1,3}',
    '[一-龥぀-ゟ゠-ヿ]+',
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
  ),
  'gpt-2': BYTE_LEVEL,
};

function sequence(...patterns: readonly string[]): object {
  const splits = patterns.map((Regex) => ({
    type: 'Split',
    pattern: { Regex },
    behavior: 'Isolated',
    invert: false,
  }));
  const bytes = { ...BYTE_LEVEL, use_regex: false };
  return { type: 'Sequence', pretokenizers: [...splits, bytes] };
}

/**
 * The texts of the files that a folder would hold: `tokenizer.json`, `tokenizer_config.json` and, where there is one,
 * `chat_template.jinja`. Empty when the file has no tokenizer.
 *
 * @throws ConfigError for a tokenizer that is not byte-level BPE, an unknown pre-tokenizer, or lists that do not fit.
 */
export function ggufTexts(m: Metadata, vocab: number): Map<string, string> {
  const texts = new Map<string, string>();
  const templateKey = 'tokenizer.chat_template';
  const template = m.has(templateKey) ? m.string(templateKey) : undefined;
  if (template !== undefined) texts.set('chat_template.jinja', template);
  if (!m.has('tokenizer.ggml.model') || m.get('tokenizer.ggml.model') === 'none') return texts;
  const key = (name: string) => `tokenizer.ggml.${name}`;
  m.mustBe(key('model'), 'gpt2');
  const pre = m.string(key('pre'));
  if (!Object.hasOwn(PRE_TOKENIZERS, pre)) {
    m.fail(key('pre'), `one of ${Object.keys(PRE_TOKENIZERS).join(', ')}`);
  }
  const tokens = m.strings(key('tokens'));
  if (tokens.length > vocab) m.fail(key('tokens'), `at most ${vocab} tokens`, tokens.length);
  const types = m.has(key('token_type'))
    ? m.numbers(key('token_type'), tokens.length)
    : tokens.map(() => TOKEN_TYPES.normal);
  // A list of pairs, not an object: a token may be called __proto__.
  const vocabulary = new Map(tokens.map((token, id) => [token, id]));
  if (vocabulary.size !== tokens.length) m.fail(key('tokens'), 'every token once', 'one twice');
  const tokenText = (name: string) => {
    if (!m.has(key(name))) return undefined;
    const id = m.integer(key(name));
    return tokens[id] ?? m.fail(key(name), `a token number below ${tokens.length}`);
  };
  const bos = tokenText('bos_token_id');
  texts.set(
    'tokenizer.json',
    JSON.stringify({
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: tokens.flatMap((content, id) =>
        isAdded(types[id]) ? [addedToken(id, content, types[id])] : [],
      ),
      normalizer: null,
      pre_tokenizer: PRE_TOKENIZERS[pre],
      post_processor: m.boolean(key('add_bos_token'), false)
        ? prefix(bos ?? m.fail(key('bos_token_id'), 'a token number'))
        : null,
      ...byteLevelBpe(Object.fromEntries(vocabulary), readMerges(m, key('merges'), vocabulary)),
    }),
  );
  texts.set(
    'tokenizer_config.json',
    JSON.stringify({
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: bos ?? null,
      eos_token: tokenText('eos_token_id') ?? null,
      pad_token: tokenText('padding_token_id') ?? null,
      clean_up_tokenization_spaces: false,
    }),
  );
  return texts;
}

/** Tokens that are found in a text before it is split. */
function isAdded(type: number): boolean {
  return type === TOKEN_TYPES.control || type === TOKEN_TYPES.userDefined;
}

function addedToken(id: number, content: string, type: number): object {
  const special = type !== TOKEN_TYPES.userDefined;
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

/** Pairs as lists: a token may hold the space that joins them in the file. */
function readMerges(m: Metadata, key: string, vocabulary: ReadonlyMap<string, number>): [string, string][] {
  return m.strings(key).map((merge) => {
    const at = merge.indexOf(' ', 1);
    const pair: [string, string] = [merge.slice(0, at), merge.slice(at + 1)];
    const known = at > 0 && vocabulary.has(pair[0]) && vocabulary.has(pair[1]);
    return known ? pair : m.fail(key, 'two tokens of the vocabulary with a space between them', merge);
  });
}

/** Puts one token before every text. */
function prefix(token: string): object {
  return {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: {},
  };
}
