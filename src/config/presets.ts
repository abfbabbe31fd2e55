/** Named configurations: the released model and smaller ones with its proportions. */
import { ConfigError } from '../errors.ts';
import type { Step3Config } from './step3.ts';

/** What all presets share with the released model. */
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
 * Presets by name, largest first.
 *
 * `step3`: the released model, 316.29 billion parameters in the language model (values of its configuration class and
 * model card); for planning and costing. Its special tokens are not set, as only its tokenizer knows them.
 * `step3-mini`: every width an eighth, 11 layers, 1.04 billion. `step3-small`: every width a sixteenth, 100 million.
 * `step3-tiny`: every width a 128th, 8 experts, for tests and demonstrations.
 */
export const PRESETS: Readonly<Record<string, Step3Config>> = {
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

/** The preset of that name; throws ConfigError listing the known names. */
export function preset(name: string): Step3Config {
  if (!Object.hasOwn(PRESETS, name)) {
    throw new ConfigError('preset', `one of ${Object.keys(PRESETS).join(', ')}`, name);
  }
  return PRESETS[name];
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
