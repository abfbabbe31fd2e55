/** Models to be costed, as data: the shapes of their public configurations. */
import {
  type AttentionFacts,
  type FfnFacts,
  layerFacts,
  type ModelConfig,
  PRESETS,
} from '../config/index.ts';
import { InputError } from '../errors.ts';

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
  readonly q_lora_rank: number;
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
  readonly attention: readonly Layers<Attention>[];
  readonly ffn: readonly Layers<Ffn>[];
}

/** Bytes of an element in FP8 or INT8, in BF16 and in FP32. */
const [B8, B16, B32] = [1, 2, 4];

/**
 * A configuration as a cost model: equal layers together, in order of their first; keys and values in 8 bits as in the
 * paper (§4.1). Multi-token-prediction blocks are not counted.
 */
export function configCostModel(config: ModelConfig, name: string): CostModel {
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => layerFacts(config, layer));
  return {
    name,
    hidden_size: config.hidden_size,
    vocab_size: config.vocab_size,
    attention: together(layers.map(({ attention }) => costedAttention(attention))),
    ffn: together(layers.map(({ ffn }) => costedFfn(ffn))),
  };
}

function costedAttention(facts: AttentionFacts): Attention {
  const { heads, kvHeads, headDim: head_dim, latent, window, gate } = facts;
  const common = { num_attention_heads: heads, head_dim, kv_bytes: B8 };
  if (latent !== undefined) return { kind: 'mfa', ...common, share_q_dim: latent };
  return {
    kind: 'gqa',
    ...common,
    num_key_value_heads: kvHeads,
    ...(gate ? { head_wise_gate: true } : {}),
    ...(window === undefined ? {} : { window }),
  };
}

function costedFfn(facts: FfnFacts): Ffn {
  if (facts.kind === 'dense') return { kind: 'dense', intermediate_size: facts.width };
  const { experts, topK } = facts.routing;
  return moe(experts, topK, facts.width, { count: 1, width: facts.shareWidth });
}

function together<T>(layers: readonly T[]): Layers<T>[] {
  const counts = new Map<string, { count: number; each: T }>();
  for (const each of layers) {
    const key = JSON.stringify(each);
    const known = counts.get(key) ?? { count: 0, each };
    counts.set(key, { count: known.count + 1, each: known.each });
  }
  return [...counts.values()];
}

/**
 * The models of the paper's tables (in their order) and Step-3.5-Flash, by name.
 *
 * Sizes are those of the public configurations. `kv_bytes` follows §4.1: 8 bits, but BF16 in the full-attention layers
 * of the two hybrids (Llama 4 Maverick, MiniMax M1) and FP32 states in lightning layers. Embeddings are counted apart
 * from the output head in all of them.
 */
export const COST_MODELS: Readonly<Record<string, CostModel>> = {
  'deepseek-v3': {
    name: 'DSv3',
    hidden_size: 7168,
    vocab_size: 129280,
    attention: [{ count: 61, each: mla(128) }],
    ffn: [
      { count: 3, each: { kind: 'dense', intermediate_size: 18432 } },
      { count: 58, each: moe(256, 8, 2048, { count: 1, width: 2048 }) },
    ],
  },
  'kimi-k2': {
    name: 'Kimi K2',
    hidden_size: 7168,
    vocab_size: 163840,
    attention: [{ count: 61, each: mla(64) }],
    ffn: [
      { count: 1, each: { kind: 'dense', intermediate_size: 18432 } },
      { count: 60, each: moe(384, 8, 2048, { count: 1, width: 2048 }) },
    ],
  },
  'qwen3-235b': {
    name: 'Qwen3 MoE',
    hidden_size: 4096,
    vocab_size: 151936,
    attention: [{ count: 94, each: gqa(64, 4) }],
    ffn: [{ count: 94, each: moe(128, 8, 1536) }],
  },
  'qwen3-32b': {
    name: 'Qwen3 32B',
    hidden_size: 5120,
    vocab_size: 151936,
    attention: [{ count: 64, each: gqa(64, 8) }],
    ffn: [{ count: 64, each: { kind: 'dense', intermediate_size: 25600 } }],
  },
  'llama4-maverick': {
    name: 'Llama 4 M',
    hidden_size: 5120,
    vocab_size: 202048,
    attention: [
      { count: 12, each: gqa(40, 8, { kv_bytes: B16 }) },
      { count: 36, each: gqa(40, 8, { window: 8192 }) },
    ],
    ffn: [
      { count: 24, each: moe(128, 1, 8192, { count: 1, width: 8192 }) },
      { count: 24, each: { kind: 'dense', intermediate_size: 16384 } },
    ],
  },
  'minimax-m1': {
    name: 'MM M1',
    hidden_size: 6144,
    vocab_size: 200064,
    attention: [
      // 10, as the paper's §4.3 and its tables have it, where §5.2 says 8.
      { count: 10, each: gqa(64, 8, { kv_bytes: B16 }) },
      { count: 70, each: { kind: 'lightning', num_attention_heads: 64, head_dim: 128, kv_bytes: B32 } },
    ],
    ffn: [{ count: 80, each: moe(32, 2, 9216) }],
  },
  'ernie-4.5': {
    name: 'ERNIE 4.5',
    hidden_size: 8192,
    vocab_size: 103424,
    attention: [{ count: 54, each: gqa(64, 8) }],
    ffn: [
      { count: 3, each: { kind: 'dense', intermediate_size: 28672 } },
      { count: 51, each: moe(64, 8, 3584) },
    ],
  },
  'pangu-pro': {
    name: 'Pangu Pro',
    hidden_size: 5120,
    vocab_size: 153600,
    attention: [{ count: 48, each: gqa(40, 8) }],
    ffn: [{ count: 48, each: moe(64, 8, 1344, { count: 4, width: 1344 }) }],
  },
  step3: configCostModel(PRESETS.step3, 'Step-3'),
  'step3.5-flash': configCostModel(PRESETS['step35-flash'], 'Step-3.5-Flash'),
};

/** The model of that name; throws InputError listing the known ones. */
export function costModel(name: string): CostModel {
  if (!Object.hasOwn(COST_MODELS, name)) {
    throw new InputError('model', `one of ${Object.keys(COST_MODELS).join(', ')}`, name);
  }
  return COST_MODELS[name];
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

/** Number of layers; throws InputError where attention and FFN disagree or a size makes no sense. */
export function layerCount(model: CostModel): number {
  const [attention, ffn] = [sum(model.attention), sum(model.ffn)];
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

function sum(layers: readonly Layers<unknown>[]): number {
  return layers.reduce((total, { count }) => total + count, 0);
}

/** DeepSeek's latent attention; only the number of heads differs between its models. */
function mla(num_attention_heads: number): MlaAttention {
  return {
    kind: 'mla',
    num_attention_heads,
    q_lora_rank: 1536,
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    kv_bytes: B8,
  };
}

function gqa(
  num_attention_heads: number,
  num_key_value_heads: number,
  more: Pick<Partial<GqaAttention>, 'window' | 'kv_bytes'> = {},
): GqaAttention {
  return { kind: 'gqa', num_attention_heads, num_key_value_heads, head_dim: 128, kv_bytes: B8, ...more };
}

function moe(
  experts: number,
  top_k: number,
  intermediate_size: number,
  shared: { count: number; width: number } = { count: 0, width: 0 },
): MoeFfn {
  return {
    kind: 'moe',
    experts,
    top_k,
    intermediate_size,
    shared_experts: shared.count,
    shared_intermediate_size: shared.width,
  };
}
