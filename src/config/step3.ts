/** Step-3's configuration: read from `config.json`, checked field by field, and written back. */
import type { PlainFormat } from '../tensor.ts';
import { Fields, isIntegerIn } from './fields.ts';

/** Step-3's language model. Field names are the checkpoint's own. */
export interface Step3Config {
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
  /** 0 in a model without MoE layers, like the four fields below. */
  readonly moe_num_experts: number;
  readonly moe_top_k: number;
  readonly moe_intermediate_size: number;
  readonly share_expert_dim: number;
  /** The MoE layers, ascending; the others are dense. From `moe_layers_enum`. */
  readonly moe_layers: readonly number[];
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
const TEXT_CLASS = 'Step3TextForCausalLM';
const VISION_CLASS = 'Step3VLForConditionalGeneration';

// Beyond these a value is a mistake or an attack, not a model: the released one has 7168, 61, 48 and 128815.
const MAX_DIM = 2 ** 20;
const MAX_LAYERS = 1024;
const MAX_HEADS = 1024;
const MAX_HEAD_DIM = 512;
const MAX_EXPERTS = 1024;
const MAX_VOCAB = 2 ** 24;
const MAX_CONTEXT = 2 ** 20;

const TORCH_DTYPES: ReadonlyMap<unknown, PlainFormat> = new Map([
  ['float32', 'f32'],
  ['float16', 'f16'],
  ['bfloat16', 'bf16'],
]);

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
export function parseConfig(json: unknown, file?: string): Step3Config {
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
    max_seq_len: readContext(text),
    vocab_size,
    bos_token_id: readBos(nearest(text, document, 'bos_token_id'), vocab_size),
    eos_token_ids: readEos(nearest(text, document, 'eos_token_id'), vocab_size),
    torch_dtype: readDtype(text, document),
  };
}

/** Whether a parsed `config.json` describes the vision-language model, whose checkpoint also holds vision tensors. */
export function hasVisionTower(json: unknown): boolean {
  return (
    checkArchitecture(new Fields(json, undefined), [TEXT_TYPE, VISION_TYPE], [TEXT_CLASS, VISION_CLASS]) ===
    VISION_TYPE
  );
}

/** Step-3's own flat `config.json`: `parseConfig(configToJson(config))` equals `config`. */
export function configToJson(config: Step3Config): Record<string, unknown> {
  const { architecture: _, moe_layers, bos_token_id, eos_token_ids, torch_dtype, ...same } = config;
  const dtype = [...TORCH_DTYPES].find(([, format]) => format === torch_dtype)?.[0];
  return {
    architectures: [TEXT_CLASS],
    model_type: TEXT_TYPE,
    ...same,
    max_position_embedding: config.max_seq_len,
    num_attention_groups: 1,
    moe_layers_enum: moe_layers.join(','),
    rope_scaling: null,
    tie_word_embeddings: false,
    ...(bos_token_id === undefined ? {} : { bos_token_id }),
    ...(eos_token_ids.length === 0
      ? {}
      : { eos_token_id: eos_token_ids.length === 1 ? eos_token_ids[0] : eos_token_ids }),
    ...(dtype === undefined ? {} : { torch_dtype: dtype }),
  };
}

/** The model type of an object that names it by `model_type`, by `architectures`, or (agreeing) by both. */
function checkArchitecture(fields: Fields, types: readonly string[], classes: readonly string[]): string {
  const type = fields.get('model_type');
  if (fields.has('model_type') && !(typeof type === 'string' && types.includes(type))) {
    fields.fail('model_type', `one of ${types.join(', ')}`);
  }
  const names = fields.get('architectures');
  if (!fields.has('architectures')) {
    return typeof type === 'string' ? type : fields.fail('model_type', `one of ${types.join(', ')}`);
  }
  const index = Array.isArray(names) && names.length === 1 ? classes.indexOf(names[0]) : -1;
  if (index < 0) fields.fail('architectures', `a list of one of ${classes.join(', ')}`);
  if (typeof type === 'string' && type !== types[index]) {
    fields.fail('architectures', `the class of model_type ${type}`);
  }
  return types[index];
}

type MoeFields = Pick<
  Step3Config,
  'moe_num_experts' | 'moe_top_k' | 'moe_intermediate_size' | 'share_expert_dim' | 'moe_layers'
>;

function readMoe(text: Fields, layers: number): MoeFields {
  const moe_layers = readMoeLayers(text, layers);
  const [min, fallback] = moe_layers.length === 0 ? [0, 0] : [1, undefined];
  const moe_num_experts = text.integer('moe_num_experts', min, MAX_EXPERTS, fallback);
  const moe_top_k = text.integer('moe_top_k', min, MAX_EXPERTS, fallback);
  if (moe_top_k > moe_num_experts) text.fail('moe_top_k', `at most moe_num_experts (${moe_num_experts})`);
  return {
    moe_num_experts,
    moe_top_k,
    moe_intermediate_size: text.integer('moe_intermediate_size', min, MAX_DIM, fallback),
    share_expert_dim: text.integer('share_expert_dim', min, MAX_DIM, fallback),
    moe_layers,
  };
}

/** `moe_layers_enum`, a string like "4,5,6" or a list of integers, as an ascending list. */
function readMoeLayers(text: Fields, layers: number): readonly number[] {
  const name = 'moe_layers_enum';
  const expected = `different layer numbers from 0 to ${layers - 1}, as a list or like "4,5,6"`;
  const raw = text.get(name);
  const useMoe = text.boolean('use_moe', true);
  if (!text.has(name)) {
    if (useMoe && text.integer('moe_num_experts', 0, MAX_EXPERTS, 0) > 0) text.fail(name, expected);
    return [];
  }
  if (typeof raw !== 'string' && !Array.isArray(raw)) text.fail(name, expected);
  const items: unknown[] = typeof raw === 'string' ? splitNumbers(raw, text) : raw;
  const seen = new Set<number>();
  for (const item of items) {
    if (!isIntegerIn(item, 0, layers - 1) || seen.has(item)) text.fail(name, expected, item);
    seen.add(item);
  }
  if (!useMoe && seen.size > 0) text.fail('use_moe', `true, as ${name} names layers`);
  return [...seen].sort((a, b) => a - b);
}

function splitNumbers(list: string, text: Fields): number[] {
  if (list.length > 16 * MAX_LAYERS)
    text.fail('moe_layers_enum', 'a shorter string', `${list.length} characters`);
  if (list.trim() === '') return [];
  return list.split(',').map((item) => (/^\d+$/.test(item.trim()) ? Number(item) : Number.NaN));
}

/** The context length: `max_seq_len`, or `max_position_embedding` (Step-3 writes it in the singular), or both alike. */
function readContext(text: Fields): number {
  const names = ['max_seq_len', 'max_position_embedding'].filter((name) => text.has(name));
  const [first, second] = names.map((name) => text.integer(name, 1, MAX_CONTEXT));
  if (first === undefined) text.fail('max_seq_len', `an integer from 1 to ${MAX_CONTEXT}`);
  if (second !== undefined && second !== first) text.fail('max_position_embedding', `max_seq_len (${first})`);
  return first;
}

/** The object that sets a field which a `step3_vl` document may hold at either level; the inner one wins. */
function nearest(text: Fields, document: Fields, name: string): Fields {
  return text.has(name) ? text : document;
}

function readBos(fields: Fields, vocab: number): number | undefined {
  return fields.has('bos_token_id') ? fields.integer('bos_token_id', 0, vocab - 1) : undefined;
}

function readEos(fields: Fields, vocab: number): readonly number[] {
  const raw = fields.get('eos_token_id');
  if (!fields.has('eos_token_id')) return [];
  const ids: unknown[] = Array.isArray(raw) ? raw : [raw];
  return ids.map((id) =>
    isIntegerIn(id, 0, vocab - 1)
      ? id
      : fields.fail('eos_token_id', `token numbers from 0 to ${vocab - 1}`, id),
  );
}

/** `torch_dtype`, or `dtype` as newer tools write it. */
function readDtype(text: Fields, document: Fields): PlainFormat | undefined {
  for (const fields of [text, document]) {
    for (const name of ['torch_dtype', 'dtype']) {
      if (!fields.has(name)) continue;
      return (
        TORCH_DTYPES.get(fields.get(name)) ??
        fields.fail(name, `one of ${[...TORCH_DTYPES.keys()].join(', ')}`)
      );
    }
  }
  return undefined;
}
