/** What the cost model reads of a model: its layers as data. */
import { InputError } from '../errors.ts';
import { kvElementBytes } from '../kernels/kv_cache.ts';
import type { KvFormat } from '../kernels/paged.ts';

/** Multi-matrix factorisation: query heads that share one key and one value head; a low-rank query. */
interface MfaAttention {
  readonly kind: 'mfa';
  readonly num_attention_heads: number;
  readonly head_dim: number;
  readonly share_q_dim: number;
  readonly kv_bytes: number;
}

/** Multi-head latent attention: all heads share one latent vector and one rotary key. */
interface MlaAttention {
  readonly kind: 'mla';
  readonly num_attention_heads: number;
  /** Absent where queries come straight from the hidden state. */
  readonly q_lora_rank?: number;
  readonly kv_lora_rank: number;
  readonly qk_nope_head_dim: number;
  readonly qk_rope_head_dim: number;
  readonly v_head_dim: number;
  readonly kv_bytes: number;
}

/** Grouped queries. */
interface GqaAttention {
  readonly kind: 'gqa';
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  /** Most positions that a query sees, in sliding or chunked layers. */
  readonly window?: number;
  /** One gate per head, computed from the layer's input. */
  readonly head_wise_gate?: boolean;
  readonly kv_bytes: number;
}

/** Lightning (linear) attention: a state of head_dim × head_dim per head, whatever the context. */
interface LightningAttention {
  readonly kind: 'lightning';
  readonly num_attention_heads: number;
  readonly head_dim: number;
  /** Bytes of one state element. */
  readonly kv_bytes: number;
}

/** The attention of one layer. `kv_bytes` is the size of one stored element. */
export type Attention = MfaAttention | MlaAttention | GqaAttention | LightningAttention;

/** One SwiGLU block, for every token. */
interface DenseFfn {
  readonly kind: 'dense';
  readonly intermediate_size: number;
}

/** A router, routed experts of which each token uses `top_k`, and shared experts that every token uses. */
interface MoeFfn {
  readonly kind: 'moe';
  readonly experts: number;
  readonly top_k: number;
  readonly intermediate_size: number;
  readonly shared_experts: number;
  readonly shared_intermediate_size: number;
}

/** The feed-forward part of one layer. */
export type Ffn = DenseFfn | MoeFfn;

/** Alike layers: how many there are, and what each holds. */
export interface Layers<T> {
  readonly count: number;
  readonly each: T;
}

/** What the cost model reads of a model. */
export interface CostModel {
  /** As the paper's tables call it. */
  readonly name: string;
  readonly hidden_size: number;
  readonly vocab_size: number;
  /** Whether the output head is the embedding table. */
  readonly tied_embeddings?: boolean;
  readonly attention: readonly Layers<Attention>[];
  readonly ffn: readonly Layers<Ffn>[];
}

/** The model with every stored key and value (not the lightning states) at `bytes` per element. */
export function withKvBytes(model: CostModel, bytes: number): CostModel {
  if (!(bytes > 0 && Number.isFinite(bytes))) {
    throw new InputError('KV bytes per element', 'a number above 0', bytes);
  }
  const attention = model.attention.map(({ count, each }) => ({
    count,
    each: each.kind === 'lightning' ? each : { ...each, kv_bytes: bytes },
  }));
  return { ...model, attention };
}

/**
 * The model with keys and values as this engine's cache stores them: an element's bytes include its share of the scale of
 * its row, of a head's key or value or of a latent. Lightning states stay as they are.
 */
export function withKvFormat(model: CostModel, kv: KvFormat): CostModel {
  const attention = model.attention.map(({ count, each }) => ({
    count,
    each: each.kind === 'lightning' ? each : { ...each, kv_bytes: kvElementBytes(kv, rowElements(each)) },
  }));
  return { ...model, attention };
}

function rowElements(attention: Exclude<Attention, LightningAttention>): number {
  if (attention.kind === 'mla') return attention.kv_lora_rank + attention.qk_rope_head_dim;
  return attention.head_dim;
}

/** Number of layers; throws InputError where attention and FFN disagree or a size makes no sense. */
export function layerCount(model: CostModel): number {
  const [attention, ffn] = [sum(model.attention, () => 1), sum(model.ffn, () => 1)];
  if (!Number.isSafeInteger(attention) || attention < 1 || attention !== ffn) {
    throw new InputError('layers', `one FFN for each of the ${attention} attention layers`, ffn);
  }
  const parts = [...model.attention, ...model.ffn];
  for (const part of [model, ...parts, ...parts.map(({ each }) => each)]) checkSizes(part);
  for (const { each } of model.ffn) {
    if (each.kind === 'moe' && !(each.top_k >= 1 && each.top_k <= each.experts)) {
      throw new InputError('top_k', `1 to ${each.experts} (experts)`, each.top_k);
    }
  }
  for (const { each } of model.attention) {
    if (each.kind === 'gqa' && each.num_attention_heads % each.num_key_value_heads !== 0) {
      const expected = `a multiple of num_key_value_heads (${each.num_key_value_heads})`;
      throw new InputError('num_attention_heads', expected, each.num_attention_heads);
    }
  }
  return attention;
}

/** Sizes are positive; only a model without shared experts has zeros. */
function checkSizes(sizes: object): void {
  for (const [name, value] of Object.entries(sizes)) {
    const least = name.startsWith('shared_') ? 0 : Number.MIN_VALUE;
    if (typeof value === 'number' && !(value >= least && Number.isFinite(value))) {
      throw new InputError(name, 'a positive number', value);
    }
  }
}

/** Something counted in each layer, added up over all of them. */
export function sum<T>(layers: readonly Layers<T>[], of: (each: T) => number): number {
  return layers.reduce((total, { count, each }) => total + count * of(each), 0);
}
