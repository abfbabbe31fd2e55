/** Step-3's configuration: read from `config.json`, checked field by field, and written back. */
import type { PlainFormat } from '../tensor.ts';
import { Fields } from './fields.ts';
import {
  checkArchitecture,
  MAX_DIM,
  MAX_HEAD_DIM,
  MAX_HEADS,
  MAX_LAYERS,
  MAX_VOCAB,
  type MoeFields,
  readBos,
  readContext,
  readDtype,
  readEos,
  readMoe,
  tokensToJson,
} from './readers.ts';

/** Step-3's language model. Field names are the checkpoint's own. */
export interface Step3Config extends MoeFields {
  readonly architecture: 'step3';
  readonly hidden_size: number;
  /** Width of the dense SwiGLU layers. */
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  /** Query heads; they all share one key and one value head. */
  readonly num_attention_heads: number;
  readonly head_dim: number;
  /** Width of the shared low-rank query, between `q_proj` and `wq`. */
  readonly share_q_dim: number;
  /** Whether the weights of the chosen experts are scaled to sum to 1. */
  readonly norm_expert_weight: boolean;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  /** Longest context, in tokens. */
  readonly max_seq_len: number;
  readonly vocab_size: number;
  readonly bos_token_id: number | undefined;
  /** Tokens that end a text; empty when the file names none. */
  readonly eos_token_ids: readonly number[];
  /** Element type that the file declares for its weights; the tensors themselves decide. */
  readonly torch_dtype: PlainFormat | undefined;
}

const TEXT_TYPE = 'step3_text';
const VISION_TYPE = 'step3_vl';
export const STEP3_TYPES: readonly string[] = [TEXT_TYPE, VISION_TYPE];
const TEXT_CLASS = 'Step3TextForCausalLM';
const VISION_CLASS = 'Step3VLForConditionalGeneration';

/** Fields with one supported value; any other would change the arithmetic. */
const FIXED: readonly (readonly [string, string | number | boolean | null])[] = [
  ['num_attention_groups', 1],
  ['hidden_act', 'silu'],
  ['att_impl_type', 'MFA'],
  ['attention_bias', false],
  ['mlp_bias', false],
  ['sliding_window', null],
  ['rope_scaling', null],
  ['rope_parameters', null],
];

/** Fields that count wherever they stand: in the document and in its `text_config`. */
const FIXED_ANYWHERE: readonly (readonly [string, boolean | null])[] = [['tie_word_embeddings', false]];

/**
 * Reads a parsed `config.json`: flat (`step3_text`) or nested in the `text_config` of a `step3_vl`.
 *
 * Absent fields take the defaults of the model's own configuration class where it has one that cannot be mistaken:
 * `norm_expert_weight` false, `rms_norm_eps` 1e-5, `rope_theta` 500000. `moe_layers_enum` has no default when experts
 * are configured: `moe_every_n_layer` and `moe_layer_offset` are not used to guess it, because the released engines
 * ignore them and fall back to "all layers but the first".
 *
 * @param json what JSON.parse returned
 * @param file name for error messages
 * @throws ConfigError naming the field, what was expected and what was found
 */
export function parseStep3(json: unknown, file?: string): Step3Config {
  const document = new Fields(json, file);
  const nested =
    checkArchitecture(document, [TEXT_TYPE, VISION_TYPE], [TEXT_CLASS, VISION_CLASS]) === VISION_TYPE;
  const text = nested ? document.object('text_config') : document;
  if (nested && (text.has('model_type') || text.has('architectures'))) {
    checkArchitecture(text, [TEXT_TYPE], [TEXT_CLASS]);
  }
  for (const [name, value] of FIXED_ANYWHERE) {
    document.mustBe(name, value);
    text.mustBe(name, value);
  }
  for (const [name, value] of FIXED) text.mustBe(name, value);

  const num_hidden_layers = text.integer('num_hidden_layers', 1, MAX_LAYERS);
  const vocab_size = text.integer('vocab_size', 2, MAX_VOCAB);
  const head_dim = text.integer('head_dim', 2, MAX_HEAD_DIM);
  if (head_dim % 2 !== 0) text.fail('head_dim', 'an even number');
  return {
    architecture: 'step3',
    hidden_size: text.integer('hidden_size', 1, MAX_DIM),
    intermediate_size: text.integer('intermediate_size', 1, MAX_DIM),
    num_hidden_layers,
    num_attention_heads: text.integer('num_attention_heads', 1, MAX_HEADS),
    head_dim,
    share_q_dim: text.integer('share_q_dim', 1, MAX_DIM),
    ...readMoe(text, num_hidden_layers),
    norm_expert_weight: text.boolean('norm_expert_weight', false),
    rms_norm_eps: text.positive('rms_norm_eps', 1e-2, 1e-5),
    rope_theta: text.positive('rope_theta', 1e12, 500000),
    max_seq_len: readContext(text, 'max_position_embedding'),
    vocab_size,
    bos_token_id: readBos(nearest(text, document, 'bos_token_id'), vocab_size),
    eos_token_ids: readEos(nearest(text, document, 'eos_token_id'), vocab_size),
    torch_dtype: readDtype(text, document),
  };
}

/** Whether a parsed `config.json` describes the vision-language model, whose checkpoint also holds vision tensors. */
export function step3HasVision(json: unknown): boolean {
  return (
    checkArchitecture(new Fields(json, undefined), [TEXT_TYPE, VISION_TYPE], [TEXT_CLASS, VISION_CLASS]) ===
    VISION_TYPE
  );
}

/** Step-3's own flat `config.json`: parsed, it is `config` again. */
export function step3ToJson(config: Step3Config): Record<string, unknown> {
  const {
    architecture: _,
    moe_layers,
    bos_token_id: __,
    eos_token_ids: ___,
    torch_dtype: ____,
    ...same
  } = config;
  return {
    architectures: [TEXT_CLASS],
    model_type: TEXT_TYPE,
    ...same,
    max_position_embedding: config.max_seq_len,
    num_attention_groups: 1,
    moe_layers_enum: moe_layers.join(','),
    rope_scaling: null,
    tie_word_embeddings: false,
    ...tokensToJson(config),
  };
}

/** The object that sets a field which a `step3_vl` document may hold at either level; the inner one wins. */
function nearest(text: Fields, document: Fields, name: string): Fields {
  return text.has(name) ? text : document;
}
