/** The attention of each layer, from the fields that model families use for it. */
import type { Fields } from '../config/fields.ts';
import type { Attention } from './models.ts';
import { count, layerList, listed, MAX_LAYERS } from './read_fields.ts';

/** The attention of a layer by its number. */
export type AttentionOf = (layer: number) => Attention;

/** Bytes of a stored element, after §4.1 of the report: 8 bits; BF16 in full layers of hybrids; FP32 states. */
const [B8, B16, B32] = [1, 2, 4];

/** Sizes that a family's configuration class fills in when the file leaves them out. */
export interface GqaDefaults {
  readonly num_attention_heads?: number;
  readonly num_key_value_heads?: number;
  readonly head_dim?: number;
}

type Gqa = Extract<Attention, { kind: 'gqa' }>;

/** Grouped queries: `num_attention_heads`, `num_key_value_heads` (or as many), `head_dim` (or what the heads leave). */
function grouped(text: Fields, defaults: GqaDefaults = {}): Gqa {
  const heads = count(text, 'num_attention_heads', defaults.num_attention_heads);
  const kv = count(text, 'num_key_value_heads', defaults.num_key_value_heads ?? heads);
  return gqaOf(text, heads, kv, 'num_key_value_heads', headDim(text, heads, defaults.head_dim));
}

function gqaOf(text: Fields, heads: number, kv: number, kvField: string, head_dim: number): Gqa {
  if (heads % kv !== 0) text.fail(kvField, `a divisor of num_attention_heads (${heads})`, kv);
  return { kind: 'gqa', num_attention_heads: heads, num_key_value_heads: kv, head_dim, kv_bytes: B8 };
}

function headDim(text: Fields, heads: number, fallback?: number): number {
  if (text.has('head_dim') || fallback !== undefined) return count(text, 'head_dim', fallback);
  const hidden = count(text, 'hidden_size');
  if (hidden % heads !== 0) text.fail('head_dim', `given, as ${heads} heads do not divide ${hidden}`);
  return hidden / heads;
}

/** Grouped queries that see all positions, in every layer. */
export function fullAttention(text: Fields, layers: number, defaults?: GqaDefaults): AttentionOf {
  return slidingAttention(text, layers, () => false, defaults);
}

/**
 * Full layers, and layers with a window (`sliding_window`) where `layer_types` says so or, without it, where `slides`
 * does.
 */
export function slidingAttention(
  text: Fields,
  layers: number,
  slides: (layer: number) => boolean,
  defaults?: GqaDefaults,
): AttentionOf {
  const full = grouped(text, defaults);
  const types = layerTypes(text, layers, ['full_attention', 'sliding_attention']);
  return (layer) => {
    const windowed = types === undefined ? slides(layer) : types[layer] === 'sliding_attention';
    return windowed ? { ...full, window: count(text, 'sliding_window') } : full;
  };
}

/** Mistral: a window in every layer, if one is given. */
export function mistralAttention(text: Fields, layers: number): AttentionOf {
  return slidingAttention(text, layers, () => text.has('sliding_window'));
}

/** Qwen: with `use_sliding_window`, layers from `max_window_layers` on have a window. */
export function qwenAttention(text: Fields, layers: number): AttentionOf {
  if (!text.boolean('use_sliding_window', false)) {
    const full = grouped(text);
    return () => full;
  }
  const first = text.integer('max_window_layers', 0, MAX_LAYERS, layers);
  return slidingAttention(text, layers, (layer) => layer >= first);
}

/** Gemma: one full layer after `period - 1` with a window. */
export function gemmaAttention(
  text: Fields,
  layers: number,
  period: number,
  defaults: GqaDefaults,
): AttentionOf {
  return slidingAttention(text, layers, (layer) => (layer + 1) % period !== 0, defaults);
}

/** Llama 4: chunks of `attention_chunk_size` positions where RoPE is used, all positions where it is not. */
export function llama4Attention(text: Fields, layers: number): AttentionOf {
  const base = grouped(text);
  const full: Gqa = { ...base, kv_bytes: B16 };
  const types = layerTypes(text, layers, ['full_attention', 'chunked_attention']);
  const ropes = listed(text, 'no_rope_layers')
    ? layerList(text, 'no_rope_layers', layers, [0, 1], '0 or 1')
    : undefined;
  const interval = text.integer('no_rope_layer_interval', 1, layers + 1, 4);
  const chunked = (layer: number) => {
    if (types !== undefined) return types[layer] === 'chunked_attention';
    return ropes === undefined ? (layer + 1) % interval !== 0 : ropes[layer] === 1;
  };
  if (!text.has('attention_chunk_size')) return () => full;
  const window = count(text, 'attention_chunk_size');
  return (layer) => (chunked(layer) ? { ...base, window } : full);
}

/** MiniMax: lightning layers where `attn_type_list` has 0 (or `layer_types` linear_attention), else full ones. */
export function minimaxAttention(text: Fields, layers: number): AttentionOf {
  const base = grouped(text);
  const types = text.has('attn_type_list')
    ? layerList(text, 'attn_type_list', layers, [0, 1], '0 (lightning) or 1 (full)').map((type) => type === 0)
    : layerTypes(text, layers, ['full_attention', 'linear_attention'])?.map(
        (type) => type === 'linear_attention',
      );
  if (types === undefined) text.fail('attn_type_list', 'the attention of each layer');
  if (!types.slice(0, layers).includes(true)) return () => base;
  const { num_attention_heads, head_dim } = base;
  const lightning: Attention = { kind: 'lightning', num_attention_heads, head_dim, kv_bytes: B32 };
  const full: Gqa = { ...base, kv_bytes: B16 };
  return (layer) => (types[layer] ? lightning : full);
}

/** DeepSeek: latent attention; queries without a low rank where `q_lora_rank` is null. */
export function latentAttention(text: Fields): AttentionOf {
  const attention: Attention = {
    kind: 'mla',
    num_attention_heads: count(text, 'num_attention_heads'),
    ...(text.has('q_lora_rank') ? { q_lora_rank: count(text, 'q_lora_rank') } : {}),
    kv_lora_rank: count(text, 'kv_lora_rank'),
    qk_nope_head_dim: count(text, 'qk_nope_head_dim'),
    qk_rope_head_dim: count(text, 'qk_rope_head_dim'),
    v_head_dim: count(text, 'v_head_dim'),
    kv_bytes: B8,
  };
  return () => attention;
}

/** Step-3: query heads of `head_dim` from a low rank `share_q_dim`, over one key and one value head. */
export function factorizedAttention(text: Fields): AttentionOf {
  text.mustBe('num_attention_groups', 1);
  const attention: Attention = {
    kind: 'mfa',
    num_attention_heads: count(text, 'num_attention_heads'),
    head_dim: count(text, 'head_dim'),
    share_q_dim: count(text, 'share_q_dim'),
    kv_bytes: B8,
  };
  return () => attention;
}

/** Step-3.5: full layers, and sliding ones with heads of their own (`attention_other_setting`). */
export function step35Attention(text: Fields, layers: number): AttentionOf {
  const gate = text.boolean('use_head_wise_attn_gate', false) ? { head_wise_gate: true } : {};
  const sizes = (fields: Fields): Gqa => {
    const heads = count(fields, 'num_attention_heads');
    const groups = count(fields, 'num_attention_groups');
    const dim = fields.has('head_dim') ? count(fields, 'head_dim') : count(text, 'head_dim');
    return { ...gqaOf(fields, heads, groups, 'num_attention_groups', dim), ...gate };
  };
  const full = sizes(text);
  const types = layerTypes(text, layers, ['full_attention', 'sliding_attention']);
  if (types === undefined) text.fail('layer_types', 'the attention of each layer');
  if (!types.slice(0, layers).includes('sliding_attention')) return () => full;
  const other = text.has('attention_other_setting') ? sizes(text.object('attention_other_setting')) : full;
  const sliding: Gqa = { ...other, window: count(text, 'sliding_window') };
  return (layer) => (types[layer] === 'sliding_attention' ? sliding : full);
}

/** `layer_types`, if it is there; entries past the last layer are those of draft layers and not looked at. */
function layerTypes(text: Fields, layers: number, known: readonly string[]): readonly unknown[] | undefined {
  return text.has('layer_types')
    ? layerList(text, 'layer_types', layers, known, `one of ${known.join(', ')}`)
    : undefined;
}
