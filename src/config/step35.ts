/** Step-3.5-Flash's configuration: read from `config.json`, checked field by field, and written back. */
import type { PlainFormat } from '../tensor.ts';
import { Fields } from './fields.ts';
import {
  checkArchitecture,
  MAX_CONTEXT,
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

/** Query heads, key/value heads (`num_attention_groups`) and their width, of one type of layer. */
export interface HeadCounts {
  readonly num_attention_heads: number;
  readonly num_attention_groups: number;
  readonly head_dim: number;
}

/** Rotary frequencies stretched as Llama 3 does: long wavelengths by `factor`, short ones not. */
export interface Llama3Scaling {
  readonly factor: number;
  readonly original_max_position_embeddings: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
}

/** What a layer attends to. */
export type LayerType = 'full_attention' | 'sliding_attention';

/**
 * Step-3.5-Flash. Field names are the checkpoint's own. Lists have an entry per layer, those of the trunk first, then
 * those of the multi-token-prediction blocks.
 */
export interface Step35Config extends MoeFields, HeadCounts {
  readonly architecture: 'step35';
  readonly hidden_size: number;
  /** Width of the dense SwiGLU layers. */
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  /** Multi-token-prediction blocks after the trunk. */
  readonly num_nextn_predict_layers: number;
  /** Heads of sliding layers; those of full layers stand in the configuration itself. */
  readonly attention_other_setting: HeadCounts;
  readonly layer_types: readonly LayerType[];
  /** Positions that a sliding layer sees, its own included. */
  readonly sliding_window: number;
  readonly rope_theta: readonly number[];
  /** Part of a head's elements that is rotated: the first ones. */
  readonly partial_rotary_factors: readonly number[];
  readonly rope_scaling: Llama3Scaling | undefined;
  /** Types of layers that `rope_scaling` is for. */
  readonly yarn_only_types: readonly LayerType[];
  /** Whether the weights of the chosen experts are divided by their sum. */
  readonly norm_expert_weight: boolean;
  /** What the weights of the chosen experts are multiplied with in the end. */
  readonly moe_router_scaling_factor: number;
  /** Limits of the activations of routed experts; 0 = none. */
  readonly swiglu_limits: readonly number[];
  /** Limits of the activations of shared experts and dense layers; 0 = none. */
  readonly swiglu_limits_shared: readonly number[];
  /** Whether norms are stored less 1. */
  readonly zero_centered: boolean;
  readonly rms_norm_eps: number;
  /** Longest context, in tokens. */
  readonly max_seq_len: number;
  readonly vocab_size: number;
  readonly bos_token_id: number | undefined;
  /** Tokens that end a text; empty when the file names none. */
  readonly eos_token_ids: readonly number[];
  /** Element type that the file declares for its weights; the tensors themselves decide. */
  readonly torch_dtype: PlainFormat | undefined;
}

export const STEP35_TYPE = 'step3p5';
export const STEP35_CLASS = 'Step3p5ForCausalLM';

const LAYER_TYPES: readonly LayerType[] = ['full_attention', 'sliding_attention'];

/** More blocks than that were never trained; drafts would not be worth their time either. */
const MAX_NEXTN = 8;

/** Limits that would only cut what no activation reaches are a mistake. */
const MAX_LIMIT = 1e4;

/** Fields with one supported value; any other would change the arithmetic. */
const FIXED: readonly (readonly [string, string | number | boolean | null])[] = [
  ['hidden_act', 'silu'],
  ['attention_bias', false],
  ['mlp_bias', false],
  ['sink', false],
  ['use_attention_sink', false],
  ['tie_word_embeddings', false],
  ['rope_parameters', null],
];

/** The same, of fields that must be there, because their absence would mean another value in other programs. */
const REQUIRED: readonly (readonly [string, string | boolean])[] = [
  ['use_qk_norm', true],
  ['use_head_wise_attn_gate', true],
];

/** The same, where there are experts. */
const REQUIRED_MOE: readonly (readonly [string, string | boolean])[] = [
  ['moe_router_activation', 'sigmoid'],
  ['use_moe_router_bias', true],
];

/**
 * Reads a parsed `config.json` of a `step3p5`.
 *
 * Per-layer lists may be longer than the layers: what follows the trunk and `num_nextn_predict_layers` is padding.
 *
 * @param json what JSON.parse returned
 * @param file name for error messages
 * @throws ConfigError naming the field, what was expected and what was found
 */
export function parseStep35(json: unknown, file?: string): Step35Config {
  const fields = new Fields(json, file);
  checkArchitecture(fields, [STEP35_TYPE], [STEP35_CLASS]);
  for (const [name, value] of FIXED) fields.mustBe(name, value);
  const num_hidden_layers = fields.integer('num_hidden_layers', 1, MAX_LAYERS);
  const num_nextn_predict_layers = fields.integer('num_nextn_predict_layers', 0, MAX_NEXTN, 0);
  const layers = num_hidden_layers + num_nextn_predict_layers;
  const vocab_size = fields.integer('vocab_size', 2, MAX_VOCAB);
  const moe = readMoe(fields, num_hidden_layers);
  for (const [name, value] of moe.moe_layers.length > 0 ? [...REQUIRED, ...REQUIRED_MOE] : REQUIRED) {
    if (!fields.has(name)) fields.fail(name, JSON.stringify(value));
    fields.mustBe(name, value);
  }
  if (!fields.has('zero_centered')) fields.fail('zero_centered', 'true or false');
  const heads = readHeads(fields);
  const layer_types = list(fields, 'layer_types', layers, LAYER_TYPES.join(' or '), isLayerType);
  const sliding = layer_types.includes('sliding_attention');
  const max_seq_len = readContext(fields, 'max_position_embeddings');
  const partial_rotary_factors = list(
    fields,
    'partial_rotary_factors',
    layers,
    'numbers above 0, at most 1',
    in01,
  );
  const attention_other_setting = sliding ? readSliding(fields) : heads;
  layer_types.forEach((type, layer) => {
    const { head_dim } = type === 'sliding_attention' ? attention_other_setting : heads;
    const rotated = head_dim * partial_rotary_factors[layer];
    if (rotated % 2 !== 0) {
      fields.fail('partial_rotary_factors', `an even number of head_dim ${head_dim} elements`, rotated);
    }
  });
  const rope_scaling = readScaling(fields);
  return {
    architecture: 'step35',
    hidden_size: fields.integer('hidden_size', 1, MAX_DIM),
    intermediate_size: fields.integer('intermediate_size', 1, MAX_DIM),
    num_hidden_layers,
    num_nextn_predict_layers,
    ...heads,
    attention_other_setting,
    layer_types,
    sliding_window: sliding ? fields.integer('sliding_window', 1, MAX_CONTEXT) : max_seq_len,
    rope_theta: list(fields, 'rope_theta', layers, 'numbers above 0, at most 1e12', isTheta),
    partial_rotary_factors,
    rope_scaling,
    yarn_only_types: rope_scaling === undefined ? [] : readScaledTypes(fields),
    ...moe,
    norm_expert_weight: fields.boolean('norm_expert_weight', true),
    moe_router_scaling_factor: fields.positive('moe_router_scaling_factor', 1e4, 1),
    swiglu_limits: readLimits(fields, 'swiglu_limits', layers),
    swiglu_limits_shared: readLimits(fields, 'swiglu_limits_shared', layers),
    zero_centered: fields.boolean('zero_centered', true),
    rms_norm_eps: fields.positive('rms_norm_eps', 1e-2, 1e-5),
    max_seq_len,
    vocab_size,
    bos_token_id: readBos(fields, vocab_size),
    eos_token_ids: readEos(fields, vocab_size),
    torch_dtype: readDtype(fields, fields),
  };
}

/** The flat `config.json` of a Step-3.5-Flash: parsed, it is `config` again. */
export function step35ToJson(config: Step35Config): Record<string, unknown> {
  const {
    architecture: _,
    moe_layers,
    bos_token_id: __,
    eos_token_ids: ___,
    torch_dtype: ____,
    ...same
  } = config;
  return {
    architectures: [STEP35_CLASS],
    model_type: STEP35_TYPE,
    ...same,
    attention_other_setting: { attention_type: 'sliding_attention', ...config.attention_other_setting },
    rope_scaling: config.rope_scaling === undefined ? null : { rope_type: 'llama3', ...config.rope_scaling },
    max_position_embeddings: config.max_seq_len,
    moe_layers_enum: moe_layers.join(','),
    moe_router_activation: 'sigmoid',
    use_moe_router_bias: true,
    use_qk_norm: true,
    use_head_wise_attn_gate: true,
    attention_bias: false,
    tie_word_embeddings: false,
    ...tokensToJson(config),
  };
}

function readHeads(fields: Fields): HeadCounts {
  const num_attention_heads = fields.integer('num_attention_heads', 1, MAX_HEADS);
  const num_attention_groups = fields.integer('num_attention_groups', 1, num_attention_heads);
  if (num_attention_heads % num_attention_groups !== 0) {
    fields.fail('num_attention_groups', `a divisor of num_attention_heads (${num_attention_heads})`);
  }
  return { num_attention_heads, num_attention_groups, head_dim: fields.integer('head_dim', 2, MAX_HEAD_DIM) };
}

function readSliding(fields: Fields): HeadCounts {
  const other = fields.object('attention_other_setting');
  other.mustBe('attention_type', 'sliding_attention');
  return readHeads(other);
}

function readScaling(fields: Fields): Llama3Scaling | undefined {
  if (!fields.has('rope_scaling')) return undefined;
  const scaling = fields.object('rope_scaling');
  const name = scaling.has('rope_type') ? 'rope_type' : 'type';
  if (!scaling.has(name)) scaling.fail('rope_type', '"llama3"');
  scaling.mustBe(name, 'llama3');
  const positive = (field: string): number => {
    if (!scaling.has(field)) scaling.fail(field, 'a number above 0');
    return scaling.positive(field, 1e6, 1);
  };
  const low_freq_factor = positive('low_freq_factor');
  const high_freq_factor = positive('high_freq_factor');
  if (!(high_freq_factor > low_freq_factor)) {
    scaling.fail('high_freq_factor', `a number above low_freq_factor (${low_freq_factor})`);
  }
  return {
    factor: positive('factor'),
    original_max_position_embeddings: scaling.integer('original_max_position_embeddings', 1, MAX_CONTEXT),
    low_freq_factor,
    high_freq_factor,
  };
}

/** Which types of layers the scaling is for; nothing is guessed, because engines differ where the field is absent. */
function readScaledTypes(fields: Fields): readonly LayerType[] {
  const name = 'yarn_only_types';
  const raw: unknown = fields.get(name);
  const expected = `a list of ${LAYER_TYPES.join(', ')}`;
  if (!Array.isArray(raw)) fields.fail(name, expected);
  return raw.map((type) => (isLayerType(type) ? type : fields.fail(name, expected, type)));
}

/** Limits per layer; absent or null, as single entries may be, means none. */
function readLimits(fields: Fields, name: string, layers: number): readonly number[] {
  if (!fields.has(name)) return Array<number>(layers).fill(0);
  const valid = (value: unknown): value is number | null =>
    value === null || (typeof value === 'number' && value >= 0 && value <= MAX_LIMIT);
  return list(fields, name, layers, `numbers from 0 to ${MAX_LIMIT}`, valid).map((limit) => limit ?? 0);
}

/** The first `layers` entries of a list, checked. */
function list<T>(
  fields: Fields,
  name: string,
  layers: number,
  each: string,
  valid: (value: unknown) => value is T,
): readonly T[] {
  const raw: unknown = fields.get(name);
  const expected = `a list of ${each} for each of ${layers} layers`;
  if (!Array.isArray(raw)) fields.fail(name, expected);
  if (raw.length < layers) fields.fail(name, expected, `${raw.length} entries`);
  return raw.slice(0, layers).map((value) => (valid(value) ? value : fields.fail(name, expected, value)));
}

function isLayerType(value: unknown): value is LayerType {
  return LAYER_TYPES.some((type) => type === value);
}

function isTheta(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= 1e12;
}

function in01(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= 1;
}
