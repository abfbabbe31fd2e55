/**
 * What the layers of a model are, whatever it is called: the one table that the weight layout, the plan, the cache and
 * the cost model read. A new architecture adds rows here, and kernels where its arithmetic is new.
 */
import type { Step3Config } from './step3.ts';
import type { Llama3Scaling, Step35Config } from './step35.ts';

/** A configuration of any supported architecture. */
export type ModelConfig = Step3Config | Step35Config;

/** Rotary embedding of one kind of layer: the first `dim` elements of a head, halves paired. */
export interface Rope {
  readonly dim: number;
  readonly theta: number;
  readonly scaling?: Llama3Scaling;
}

/** Attention of one layer. */
export interface AttentionFacts {
  /** Query heads, and the key/value heads that they share in equal groups. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rope: Rope;
  /** Positions that a query sees, its own included; undefined = all before it. */
  readonly window: number | undefined;
  /** Width of the low-rank query between `q_proj` and `wq`; undefined = queries are projected at once. */
  readonly latent: number | undefined;
  /** Whether every query and key head is normalised before it is rotated. */
  readonly headNorm: boolean;
  /** Whether every head's result is multiplied with a sigmoid of the layer's input. */
  readonly gate: boolean;
}

/** How tokens choose experts, and what weights the chosen ones get. */
export interface RoutingFacts {
  readonly experts: number;
  readonly topK: number;
  /** `softmax` over all experts; `sigmoid` of each, chosen with a bias that the weights do not have. */
  readonly scoring: 'softmax' | 'sigmoid';
  /** Whether the chosen weights are divided by their sum. */
  readonly renormalise: boolean;
  /** What the chosen weights are multiplied with. */
  readonly scale: number;
}

/** Feed-forward part of one layer. `limit`s bound activations; 0 = none. */
export type FfnFacts =
  | { readonly kind: 'dense'; readonly width: number; readonly limit: number }
  | {
      readonly kind: 'moe';
      readonly routing: RoutingFacts;
      readonly width: number;
      readonly limit: number;
      readonly shareWidth: number;
      readonly shareLimit: number;
    };

/** One decoder layer. */
export interface LayerFacts {
  readonly attention: AttentionFacts;
  readonly ffn: FfnFacts;
}

/**
 * Layers that share cache rows and rotary angles: one window and one rope. `suffix` tells their slots apart; it is empty
 * for the first class.
 */
export interface LayerClass {
  readonly rope: Rope;
  readonly window: number | undefined;
  readonly suffix: string;
}

/** What `layer` is; layers from num_hidden_layers on are multi-token-prediction blocks. */
export function layerFacts(config: ModelConfig, layer: number): LayerFacts {
  return config.architecture === 'step3' ? step3Layer(config, layer) : step35Layer(config, layer);
}

/** Multi-token-prediction blocks of a model. */
export function mtpBlocks(config: ModelConfig): number {
  return config.architecture === 'step3' ? 0 : config.num_nextn_predict_layers;
}

/** Whether norms are stored less 1. */
export function hasCentredNorms(config: ModelConfig): boolean {
  return config.architecture === 'step35' && config.zero_centered;
}

/** The classes of the trunk's layers and the first `blocks` multi-token-prediction blocks, in order of first use. */
export function layerClasses(config: ModelConfig, blocks: number): readonly LayerClass[] {
  const classes = new Map<string, LayerClass>();
  for (let layer = 0; layer < config.num_hidden_layers + blocks; layer++) {
    const { rope, window } = layerFacts(config, layer).attention;
    const key = classKey(rope, window);
    const suffix = classes.size === 0 ? '' : `.${classes.size}`;
    if (!classes.has(key)) classes.set(key, { rope, window, suffix });
  }
  return [...classes.values()];
}

/** The class among `classes` that a layer belongs to. */
export function classOf(classes: readonly LayerClass[], { rope, window }: AttentionFacts): LayerClass {
  const key = classKey(rope, window);
  // Lists made from the same configuration hold every layer's class.
  return classes.find((c) => classKey(c.rope, c.window) === key) ?? classes[0];
}

function classKey(rope: Rope, window: number | undefined): string {
  return JSON.stringify([rope, window ?? null]);
}

function step3Layer(config: Step3Config, layer: number): LayerFacts {
  const attention: AttentionFacts = {
    heads: config.num_attention_heads,
    kvHeads: 1,
    headDim: config.head_dim,
    rope: { dim: config.head_dim, theta: config.rope_theta },
    window: undefined,
    latent: config.share_q_dim,
    headNorm: false,
    gate: false,
  };
  if (!config.moe_layers.includes(layer)) {
    return { attention, ffn: { kind: 'dense', width: config.intermediate_size, limit: 0 } };
  }
  const routing: RoutingFacts = {
    experts: config.moe_num_experts,
    topK: config.moe_top_k,
    scoring: 'softmax',
    renormalise: config.norm_expert_weight,
    scale: 1,
  };
  const [width, shareWidth] = [config.moe_intermediate_size, config.share_expert_dim];
  return { attention, ffn: { kind: 'moe', routing, width, limit: 0, shareWidth, shareLimit: 0 } };
}

function step35Layer(config: Step35Config, layer: number): LayerFacts {
  const type = config.layer_types[layer];
  const sliding = type === 'sliding_attention';
  const heads = sliding ? config.attention_other_setting : config;
  const scaling = config.yarn_only_types.includes(type) ? config.rope_scaling : undefined;
  const attention: AttentionFacts = {
    heads: heads.num_attention_heads,
    kvHeads: heads.num_attention_groups,
    headDim: heads.head_dim,
    rope: {
      dim: heads.head_dim * config.partial_rotary_factors[layer],
      theta: config.rope_theta[layer],
      ...(scaling === undefined ? {} : { scaling }),
    },
    window: sliding ? config.sliding_window : undefined,
    latent: undefined,
    headNorm: true,
    gate: true,
  };
  const shareLimit = config.swiglu_limits_shared[layer];
  if (!config.moe_layers.includes(layer)) {
    // The limit of shared experts is also that of a dense layer.
    return { attention, ffn: { kind: 'dense', width: config.intermediate_size, limit: shareLimit } };
  }
  const routing: RoutingFacts = {
    experts: config.moe_num_experts,
    topK: config.moe_top_k,
    scoring: 'sigmoid',
    renormalise: config.norm_expert_weight,
    scale: config.moe_router_scaling_factor,
  };
  const [width, shareWidth] = [config.moe_intermediate_size, config.share_expert_dim];
  const limit = config.swiglu_limits[layer];
  return { attention, ffn: { kind: 'moe', routing, width, limit, shareWidth, shareLimit } };
}
