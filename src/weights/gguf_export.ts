/** GGUF metadata of a model: the reverse of what `gguf_config.ts` and `gguf_tokenizer.ts` read. */
import { Fields } from '../config/fields.ts';
import { ConfigError, show, WeightError } from '../errors.ts';
import { PRE_TOKENIZERS, TOKEN_TYPES } from './gguf_tokenizer.ts';
import type { TypedValue } from './gguf_writer.ts';

type Entry = readonly [string, TypedValue];

const u32 = (value: number): TypedValue => ({ type: 'uint32', value });
const f32 = (value: number): TypedValue => ({ type: 'float32', value });
const str = (value: string): TypedValue => ({ type: 'string', value });
const bool = (value: boolean): TypedValue => ({ type: 'bool', value });
const list = (
  of: 'int32' | 'float32' | 'bool' | 'string',
  values: readonly (number | boolean | string)[],
): TypedValue => ({
  type: 'array',
  of,
  values,
});

const MAX = 2 ** 31;

/**
 * Metadata of a configuration, given as the `config.json` that `configToJson` makes.
 *
 * @throws ConfigError for what GGUF cannot say: other partial rotary factors than llama.cpp's, mixed frequencies.
 */
export function configMetadata(json: Record<string, unknown>): Map<string, TypedValue> {
  const fields = new Fields(json, 'config.json');
  return new Map(fields.get('model_type') === 'step3p5' ? step35(fields) : step3(fields));
}

function common(arch: string, f: Fields, blocks: number): Entry[] {
  return [
    ['general.architecture', str(arch)],
    ['general.type', str('model')],
    ['general.quantization_version', u32(2)],
    [`${arch}.block_count`, u32(blocks)],
    [`${arch}.context_length`, u32(f.integer('max_seq_len', 1, MAX))],
    [`${arch}.embedding_length`, u32(f.integer('hidden_size', 1, MAX))],
    [`${arch}.feed_forward_length`, u32(f.integer('intermediate_size', 1, MAX))],
    [`${arch}.attention.key_length`, u32(f.integer('head_dim', 1, MAX))],
    [`${arch}.attention.value_length`, u32(f.integer('head_dim', 1, MAX))],
    [`${arch}.attention.layer_norm_rms_epsilon`, f32(f.positive('rms_norm_eps', 1, 1e-5))],
    [`${arch}.vocab_size`, u32(f.integer('vocab_size', 1, MAX))],
  ];
}

function experts(arch: string, f: Fields): Entry[] {
  return [
    [`${arch}.expert_count`, u32(f.integer('moe_num_experts', 0, MAX))],
    [`${arch}.expert_used_count`, u32(f.integer('moe_top_k', 0, MAX))],
    [`${arch}.expert_feed_forward_length`, u32(f.integer('moe_intermediate_size', 0, MAX))],
    [`${arch}.expert_shared_feed_forward_length`, u32(f.integer('share_expert_dim', 0, MAX))],
    [`${arch}.expert_weights_norm`, bool(f.boolean('norm_expert_weight', false))],
  ];
}

function moeLayers(f: Fields): number[] {
  const text = String(f.get('moe_layers_enum') ?? '');
  return text === '' ? [] : text.split(',').map(Number);
}

function step3(f: Fields): Entry[] {
  const moe = moeLayers(f);
  return [
    ...common('step3', f, f.integer('num_hidden_layers', 1, MAX)),
    ['step3.attention.head_count', u32(f.integer('num_attention_heads', 1, MAX))],
    ['step3.attention.head_count_kv', u32(1)],
    ['step3.attention.q_lora_rank', u32(f.integer('share_q_dim', 1, MAX))],
    ['step3.rope.freq_base', f32(f.positive('rope_theta', 1e12, 5e5))],
    ...(moe.length === 0 ? [] : [...experts('step3', f), ['step3.moe_layers', list('int32', moe)] as Entry]),
  ];
}

function step35(f: Fields): Entry[] {
  const layers = f.integer('num_hidden_layers', 1, MAX);
  const nextn = f.integer('num_nextn_predict_layers', 0, MAX, 0);
  const blocks = layers + nextn;
  const sliding = numbers(f, 'layer_types', blocks).map((type) => type === 'sliding_attention');
  const other = sliding.includes(true) ? f.object('attention_other_setting') : f;
  if (other.integer('head_dim', 1, MAX) !== f.integer('head_dim', 1, MAX)) {
    f.fail('attention_other_setting', 'the head_dim of full layers, as GGUF has one');
  }
  const factors = numbers(f, 'partial_rotary_factors', blocks);
  if (sliding.some((s, i) => factors[i] !== (s ? 1 : 0.5))) {
    f.fail('partial_rotary_factors', '0.5 in full and 1 in sliding layers, as GGUF cannot say otherwise');
  }
  const moe = moeLayers(f);
  const dense = moe[0] ?? layers;
  if (moe.length !== layers - dense) f.fail('moe_layers_enum', 'all layers from the first one on');
  const by = (name: string) => sliding.map((s) => (s ? other : f).integer(name, 1, MAX));
  return [
    ...common('step35', f, blocks),
    ['step35.attention.head_count', list('int32', by('num_attention_heads'))],
    ['step35.attention.head_count_kv', list('int32', by('num_attention_groups'))],
    ['step35.attention.sliding_window', u32(f.integer('sliding_window', 1, MAX))],
    ['step35.attention.sliding_window_pattern', list('bool', sliding)],
    ['step35.rope.freq_base', f32(theta(f, sliding, false))],
    ['step35.rope.freq_base_swa', f32(theta(f, sliding, true))],
    ...(moe.length === 0 ? [] : experts('step35', f)),
    ['step35.expert_weights_scale', f32(f.positive('moe_router_scaling_factor', 1e6, 1))],
    ['step35.expert_gating_func', u32(2)],
    ['step35.leading_dense_block_count', u32(dense)],
    ['step35.moe_every_n_layers', u32(1)],
    ['step35.swiglu_clamp_exp', list('float32', numbers(f, 'swiglu_limits', blocks) as number[])],
    ['step35.swiglu_clamp_shexp', list('float32', numbers(f, 'swiglu_limits_shared', blocks) as number[])],
    ...(nextn === 0 ? [] : [['step35.nextn_predict_layers', u32(nextn)] as Entry]),
  ];
}

function numbers(f: Fields, name: string, length: number): readonly unknown[] {
  const value = f.get(name);
  if (!Array.isArray(value) || value.length < length) return f.fail(name, `a list of ${length}`);
  return value.slice(0, length);
}

/** The one frequency base of a type of layer; of a type that no layer has, the other's. */
function theta(f: Fields, sliding: readonly boolean[], type: boolean): number {
  const all = numbers(f, 'rope_theta', sliding.length) as number[];
  const own = new Set(all.filter((_, i) => sliding[i] === type));
  if (own.size > 1) f.fail('rope_theta', 'one value per type of layer, as GGUF has two', [...own]);
  return [...own][0] ?? all[0];
}

/** Divisors of the rotary frequencies of full layers for `rope_freqs.weight`, padded with 1; undefined = no scaling. */
export function ropeDivisors(json: Record<string, unknown>): Float32Array<ArrayBuffer> | undefined {
  const f = new Fields(json, 'config.json');
  if (f.get('model_type') !== 'step3p5' || !f.has('rope_scaling')) return undefined;
  const scaled: unknown = f.get('yarn_only_types');
  if (!Array.isArray(scaled) || scaled.join() !== 'full_attention') {
    f.fail('yarn_only_types', '["full_attention"], as GGUF scales no other layers');
  }
  const scaling = f.object('rope_scaling');
  const value = (name: string) => scaling.positive(name, 1e9, 1);
  const [factor, low, high] = [value('factor'), value('low_freq_factor'), value('high_freq_factor')];
  const original = value('original_max_position_embeddings');
  const types = f.get('layer_types') as string[];
  const base = (f.get('rope_theta') as number[])[types.indexOf('full_attention')];
  const half = f.integer('head_dim', 4, MAX) / 2;
  const divisors = new Float32Array(half).fill(1);
  for (let i = 0; i < half / 2; i++) {
    const wave = 2 * Math.PI * base ** (i / (half / 2));
    const s = Math.min(1, Math.max(0, (original / wave - low) / (high - low)));
    divisors[i] = 1 / ((1 - s) / factor + s);
  }
  return divisors;
}

interface TokenizerJson {
  readonly model?: { readonly type?: unknown; readonly vocab?: unknown; readonly merges?: unknown };
  readonly pre_tokenizer?: unknown;
  readonly added_tokens?: readonly {
    readonly id: number;
    readonly content: string;
    readonly special?: boolean;
  }[];
}

/**
 * Metadata of a `tokenizer.json`.
 *
 * @param config a parsed `tokenizer_config.json`
 * @param vocab tokens of the model; those that the tokenizer lacks become padding
 * @throws WeightError for a tokenizer that GGUF has no name for.
 */
export function tokenizerMetadata(
  tokenizer: TokenizerJson,
  config: Readonly<Record<string, unknown>>,
  vocab: number,
  hasBos: boolean,
): Map<string, TypedValue> {
  const { model, added_tokens: added = [] } = tokenizer;
  if (
    model?.type !== 'BPE' ||
    typeof model.vocab !== 'object' ||
    model.vocab === null ||
    !Array.isArray(model.merges)
  ) {
    throw new WeightError('tokenizer.json', undefined, 'a BPE model', show(model?.type));
  }
  const pre = preTokenizerName(tokenizer.pre_tokenizer);
  const tokens = Array.from({ length: vocab }, (_, id) => `[PAD${id}]`);
  const types = Array<number>(vocab).fill(TOKEN_TYPES.unused);
  const set = (id: number, token: string, type: number) => {
    if (!(id >= 0 && id < vocab))
      throw new WeightError('tokenizer.json', undefined, `token numbers below ${vocab}`, show(id));
    tokens[id] = token;
    types[id] = type;
  };
  for (const [token, id] of Object.entries(model.vocab)) set(id as number, token, TOKEN_TYPES.normal);
  for (const { id, content, special } of added) {
    set(id, content, special === true ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined);
  }
  const merges = model.merges.map((merge: unknown) =>
    Array.isArray(merge) ? merge.join(' ') : String(merge),
  );
  const template = config.chat_template;
  return new Map<string, TypedValue>([
    ['tokenizer.ggml.model', str('gpt2')],
    ['tokenizer.ggml.pre', str(pre)],
    ['tokenizer.ggml.tokens', list('string', tokens)],
    ['tokenizer.ggml.token_type', list('int32', types)],
    ['tokenizer.ggml.merges', list('string', merges)],
    ['tokenizer.ggml.add_bos_token', bool(config.add_bos_token === true && hasBos)],
    ...(typeof template === 'string' ? [['tokenizer.chat_template', str(template)] as Entry] : []),
  ]);
}

/** Metadata of the tokens that begin and end a text. ConfigError for more ends than GGUF has keys. */
export function tokenIdMetadata(bos: number | undefined, ends: readonly number[]): Map<string, TypedValue> {
  const [eos, eot, eom, ...more] = ends;
  if (more.length > 0) {
    throw new ConfigError('eos_token_id', 'at most 3 tokens, as GGUF has', ends, 'config.json');
  }
  const ids = new Map<string, TypedValue>();
  for (const [name, id] of Object.entries({ bos, eos, eot, eom })) {
    if (id !== undefined) ids.set(`tokenizer.ggml.${name}_token_id`, u32(id));
  }
  return ids;
}

/** The name of a pre-tokenizer: that of the one with the same splits. */
function preTokenizerName(found: unknown): string {
  const plain = (value: unknown) =>
    JSON.stringify(value, (key, item) => (key === 'trim_offsets' ? undefined : item));
  const name = Object.keys(PRE_TOKENIZERS).find((key) => plain(PRE_TOKENIZERS[key]) === plain(found));
  if (name !== undefined) return name;
  throw new ConfigError(
    'pre_tokenizer',
    `that of ${Object.keys(PRE_TOKENIZERS).join(' or ')}`,
    found,
    'tokenizer.json',
  );
}
