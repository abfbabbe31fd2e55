/** The models of the Step-3 report and Step-3.5-Flash, by the sizes in their public configurations. */
import { configToJson, PRESETS } from '../config/index.ts';
import { InputError } from '../errors.ts';
import type { CostModel } from './models.ts';
import { readCostModel } from './read_model.ts';

/** Every `of`-th entry, counted from 1, is `other`. */
function every<T>(length: number, of: number, other: T, value: T): T[] {
  return Array.from({ length }, (_, i) => ((i + 1) % of === 0 ? other : value));
}

/** DeepSeek's sizes, which Kimi K2 has too. */
const LATENT = {
  hidden_size: 7168,
  num_hidden_layers: 61,
  q_lora_rank: 1536,
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  intermediate_size: 18432,
  moe_intermediate_size: 2048,
  num_experts_per_tok: 8,
  n_shared_experts: 1,
} as const;

/** By name: what the report's tables call the model, and the fields of its `config.json` that its cost depends on. */
const CONFIGS: Readonly<Record<string, readonly [name: string, config: object]>> = {
  'deepseek-v3': [
    'DSv3',
    {
      ...LATENT,
      model_type: 'deepseek_v3',
      vocab_size: 129280,
      num_attention_heads: 128,
      n_routed_experts: 256,
      first_k_dense_replace: 3,
    },
  ],
  'kimi-k2': [
    'Kimi K2',
    {
      ...LATENT,
      model_type: 'kimi_k2',
      vocab_size: 163840,
      num_attention_heads: 64,
      n_routed_experts: 384,
      first_k_dense_replace: 1,
    },
  ],
  'qwen3-235b': [
    'Qwen3 MoE',
    {
      model_type: 'qwen3_moe',
      hidden_size: 4096,
      num_hidden_layers: 94,
      vocab_size: 151936,
      num_attention_heads: 64,
      num_key_value_heads: 4,
      head_dim: 128,
      num_experts: 128,
      num_experts_per_tok: 8,
      moe_intermediate_size: 1536,
    },
  ],
  'qwen3-32b': [
    'Qwen3 32B',
    {
      model_type: 'qwen3',
      hidden_size: 5120,
      num_hidden_layers: 64,
      vocab_size: 151936,
      num_attention_heads: 64,
      num_key_value_heads: 8,
      head_dim: 128,
      intermediate_size: 25600,
    },
  ],
  'llama4-maverick': [
    'Llama 4 M',
    {
      model_type: 'llama4',
      text_config: {
        model_type: 'llama4_text',
        hidden_size: 5120,
        num_hidden_layers: 48,
        vocab_size: 202048,
        num_attention_heads: 40,
        num_key_value_heads: 8,
        head_dim: 128,
        attention_chunk_size: 8192,
        no_rope_layers: every(48, 4, 0, 1),
        interleave_moe_layer_step: 2,
        num_local_experts: 128,
        num_experts_per_tok: 1,
        intermediate_size: 8192,
        intermediate_size_mlp: 16384,
      },
    },
  ],
  'minimax-m1': [
    'MM M1',
    {
      model_type: 'minimax_m1',
      hidden_size: 6144,
      num_hidden_layers: 80,
      vocab_size: 200064,
      num_attention_heads: 64,
      num_key_value_heads: 8,
      head_dim: 128,
      // 10 full layers, as the report's §4.3 and its tables have it, where its §5.2 says 8.
      attn_type_list: every(80, 8, 1, 0),
      num_local_experts: 32,
      num_experts_per_tok: 2,
      intermediate_size: 9216,
    },
  ],
  'ernie-4.5': [
    'ERNIE 4.5',
    {
      model_type: 'ernie4_5_moe',
      hidden_size: 8192,
      num_hidden_layers: 54,
      vocab_size: 103424,
      num_attention_heads: 64,
      num_key_value_heads: 8,
      head_dim: 128,
      intermediate_size: 28672,
      moe_num_experts: 64,
      moe_num_shared_experts: 0,
      moe_k: 8,
      moe_intermediate_size: 3584,
      moe_layer_start_index: 3,
      moe_layer_interval: 1,
      tie_word_embeddings: false,
    },
  ],
  'pangu-pro': [
    'Pangu Pro',
    {
      model_type: 'PanguProMoE',
      hidden_size: 5120,
      num_hidden_layers: 48,
      vocab_size: 153600,
      num_attention_heads: 40,
      num_key_value_heads: 8,
      num_experts: 64,
      num_experts_per_tok: 8,
      moe_intermediate_size: 1344,
      shared_expert_intermediate_size: 5376,
    },
  ],
  step3: ['Step-3', configToJson(PRESETS.step3)],
  'step3.5-flash': ['Step-3.5-Flash', configToJson(PRESETS['step35-flash'])],
};

/** The nine models of the report's tables, in their order, and Step-3.5-Flash, by name. */
export const COST_MODELS: Readonly<Record<string, CostModel>> = Object.fromEntries(
  Object.entries(CONFIGS).map(([id, [name, config]]) => [id, readCostModel(config, name, `preset ${id}`)]),
);

/** The model of that name; throws InputError listing the known ones. */
export function costModel(name: string): CostModel {
  if (!Object.hasOwn(COST_MODELS, name)) {
    throw new InputError('model', `one of ${Object.keys(COST_MODELS).join(', ')}`, name);
  }
  return COST_MODELS[name];
}
