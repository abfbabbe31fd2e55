/** Named configurations: the released model and smaller ones with its proportions. */
import { ConfigError } from '../errors.ts';
import type { ModelConfig } from './facts.ts';
import type { Step3Config } from './step3.ts';
import type { LayerType, Step35Config } from './step35.ts';

type Step3Presets = Readonly<Record<'step3' | 'step3-mini' | 'step3-small' | 'step3-tiny', Step3Config>>;
type Step35Presets = Readonly<Record<'step35-flash' | 'step35-tiny', Step35Config>>;

/** What all presets of Step-3 share with the released model. */
const COMMON = {
  architecture: 'step3',
  moe_top_k: 3,
  norm_expert_weight: false,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  max_seq_len: 65536,
  bos_token_id: undefined,
  torch_dtype: 'bf16',
} as const;

/** `<|endoftext|>` of the byte-level tokenizer that synthetic checkpoints come with. */
const END_OF_TEXT = 256;

/**
 * Presets of Step-3 by name, largest first.
 *
 * `step3`: the released model, 316.29 billion parameters in the language model (values of its configuration class and
 * model card); for planning and costing. Its special tokens are not set, as only its tokenizer knows them.
 * `step3-mini`: every width an eighth, 11 layers, 1.04 billion. `step3-small`: every width a sixteenth, 100 million.
 * `step3-tiny`: every width a 128th, 8 experts, for tests and demonstrations.
 */
const STEP3_PRESETS: Step3Presets = {
  step3: {
    ...COMMON,
    hidden_size: 7168,
    intermediate_size: 18432,
    num_hidden_layers: 61,
    num_attention_heads: 64,
    head_dim: 256,
    share_q_dim: 2048,
    moe_num_experts: 48,
    moe_intermediate_size: 5120,
    share_expert_dim: 5120,
    moe_layers: range(4, 59),
    vocab_size: 128815,
    eos_token_ids: [],
  },
  'step3-mini': {
    ...COMMON,
    hidden_size: 896,
    intermediate_size: 2304,
    num_hidden_layers: 11,
    num_attention_heads: 8,
    head_dim: 256,
    share_q_dim: 256,
    moe_num_experts: 48,
    moe_intermediate_size: 640,
    share_expert_dim: 640,
    moe_layers: range(1, 9),
    vocab_size: 128815,
    eos_token_ids: [END_OF_TEXT],
  },
  'step3-small': {
    ...COMMON,
    hidden_size: 448,
    intermediate_size: 1152,
    num_hidden_layers: 5,
    num_attention_heads: 4,
    head_dim: 256,
    share_q_dim: 128,
    moe_num_experts: 48,
    moe_intermediate_size: 320,
    share_expert_dim: 320,
    moe_layers: range(1, 3),
    vocab_size: 32768,
    eos_token_ids: [END_OF_TEXT],
  },
  'step3-tiny': {
    ...COMMON,
    hidden_size: 56,
    intermediate_size: 144,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    head_dim: 32,
    share_q_dim: 16,
    moe_num_experts: 8,
    moe_intermediate_size: 40,
    share_expert_dim: 40,
    moe_layers: range(1, 2),
    vocab_size: 320,
    eos_token_ids: [END_OF_TEXT],
  },
};

/** Full attention in every fourth layer. */
function everyFourth(layers: number): LayerType[] {
  return range(0, layers - 1).map((layer) => (layer % 4 === 0 ? 'full_attention' : 'sliding_attention'));
}

/** What follows from the types of layers: full ones have long rotary periods, half of whose head is rotated. */
function byType(layer_types: readonly LayerType[]) {
  const full = layer_types.map((type) => type === 'full_attention');
  return {
    layer_types,
    rope_theta: full.map((is) => (is ? 5e6 : 1e4)),
    partial_rotary_factors: full.map((is) => (is ? 0.5 : 1)),
  };
}

/** Multi-token-prediction blocks slide. */
const MTP_TYPES: readonly LayerType[] = ['sliding_attention', 'sliding_attention', 'sliding_attention'];

/** What all presets of Step-3.5-Flash share with the released model. */
const COMMON_35 = {
  architecture: 'step35',
  num_nextn_predict_layers: 3,
  yarn_only_types: ['full_attention'],
  norm_expert_weight: true,
  moe_router_scaling_factor: 3,
  zero_centered: true,
  rms_norm_eps: 1e-5,
  bos_token_id: undefined,
  torch_dtype: 'bf16',
} as const;

/**
 * Presets of Step-3.5-Flash.
 *
 * `step35-flash`: the released model, 196.96 billion parameters in the trunk. `step35-tiny`: a hundredth of its width and
 * 5 layers, with the same kinds of layers, for tests and demonstrations.
 */
const STEP35_PRESETS: Step35Presets = {
  'step35-flash': {
    ...COMMON_35,
    hidden_size: 4096,
    intermediate_size: 11264,
    num_hidden_layers: 45,
    num_attention_heads: 64,
    num_attention_groups: 8,
    head_dim: 128,
    attention_other_setting: { num_attention_heads: 96, num_attention_groups: 8, head_dim: 128 },
    ...byType([...everyFourth(45), ...MTP_TYPES]),
    sliding_window: 512,
    rope_scaling: {
      factor: 2,
      original_max_position_embeddings: 131072,
      low_freq_factor: 1,
      high_freq_factor: 32,
    },
    moe_num_experts: 288,
    moe_top_k: 8,
    moe_intermediate_size: 1280,
    share_expert_dim: 1280,
    moe_layers: range(3, 44),
    swiglu_limits: range(0, 47).map((layer) => (layer === 43 || layer === 44 ? 7 : 0)),
    swiglu_limits_shared: range(0, 47).map((layer) => (layer === 43 || layer === 44 ? 16 : 0)),
    max_seq_len: 262144,
    vocab_size: 128896,
    eos_token_ids: [],
  },
  'step35-tiny': {
    ...COMMON_35,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 5,
    num_attention_heads: 4,
    num_attention_groups: 2,
    head_dim: 16,
    attention_other_setting: { num_attention_heads: 6, num_attention_groups: 2, head_dim: 16 },
    ...byType([...everyFourth(5), ...MTP_TYPES]),
    sliding_window: 48,
    rope_scaling: {
      factor: 2,
      original_max_position_embeddings: 256,
      low_freq_factor: 1,
      high_freq_factor: 32,
    },
    moe_num_experts: 8,
    moe_top_k: 3,
    moe_intermediate_size: 24,
    share_expert_dim: 24,
    moe_layers: range(1, 4),
    swiglu_limits: range(0, 7).map((layer) => (layer === 4 ? 0.5 : 0)),
    swiglu_limits_shared: range(0, 7).map((layer) => (layer === 4 ? 1 : 0)),
    max_seq_len: 8192,
    vocab_size: 320,
    eos_token_ids: [END_OF_TEXT],
  },
};

/** Every preset by name. */
export const PRESETS: Step3Presets & Step35Presets & Readonly<Record<string, ModelConfig>> = {
  ...STEP3_PRESETS,
  ...STEP35_PRESETS,
};

/** The preset of that name; throws ConfigError listing the known names. */
export function preset<Name extends string>(name: Name): (typeof PRESETS)[Name] {
  if (!Object.hasOwn(PRESETS, name)) {
    throw new ConfigError('preset', `one of ${Object.keys(PRESETS).join(', ')}`, name);
  }
  return PRESETS[name];
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
