/** Readers of fields that the architectures share, and what their values are bounded by. */
import type { PlainFormat } from '../tensor.ts';
import { type Fields, isIntegerIn } from './fields.ts';

// Beyond these a value is a mistake or an attack, not a model: the released one has 7168, 61, 48 and 128815.
export const MAX_DIM: number = 2 ** 20;
export const MAX_LAYERS = 1024;
export const MAX_HEADS = 1024;
export const MAX_HEAD_DIM = 512;
export const MAX_EXPERTS = 1024;
export const MAX_VOCAB: number = 2 ** 24;
export const MAX_CONTEXT: number = 2 ** 20;

const TORCH_DTYPES: ReadonlyMap<unknown, PlainFormat> = new Map([
  ['float32', 'f32'],
  ['float16', 'f16'],
  ['bfloat16', 'bf16'],
]);

/** The model type of an object that names it by `model_type`, by `architectures`, or (agreeing) by both. */
export function checkArchitecture(
  fields: Fields,
  types: readonly string[],
  classes: readonly string[],
): string {
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

/** Everything about a mixture of experts but its router. */
export interface MoeFields {
  /** 0 in a model without MoE layers, like the three fields below. */
  readonly moe_num_experts: number;
  readonly moe_top_k: number;
  readonly moe_intermediate_size: number;
  readonly share_expert_dim: number;
  /** The MoE layers, ascending; the others are dense. From `moe_layers_enum`. */
  readonly moe_layers: readonly number[];
}

/** The experts' sizes, and which layers have them. */
export function readMoe(text: Fields, layers: number): MoeFields {
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

/** The context length: `max_seq_len`, or `other` (whose name differs between models), or both alike. */
export function readContext(text: Fields, other: string): number {
  const names = ['max_seq_len', other].filter((name) => text.has(name));
  const [first, second] = names.map((name) => text.integer(name, 1, MAX_CONTEXT));
  if (first === undefined) text.fail('max_seq_len', `an integer from 1 to ${MAX_CONTEXT}`);
  if (second !== undefined && second !== first) text.fail(other, `max_seq_len (${first})`);
  return first;
}

/** Special tokens and dtype, as `configToJson` writes them. */
export function tokensToJson(config: {
  readonly bos_token_id: number | undefined;
  readonly eos_token_ids: readonly number[];
  readonly torch_dtype: PlainFormat | undefined;
}): Record<string, unknown> {
  const { bos_token_id, eos_token_ids, torch_dtype } = config;
  const dtype = [...TORCH_DTYPES].find(([, format]) => format === torch_dtype)?.[0];
  return {
    ...(bos_token_id === undefined ? {} : { bos_token_id }),
    ...(eos_token_ids.length === 0
      ? {}
      : { eos_token_id: eos_token_ids.length === 1 ? eos_token_ids[0] : eos_token_ids }),
    ...(dtype === undefined ? {} : { torch_dtype: dtype }),
  };
}

/** The token that begins a text, if the file names one. */
export function readBos(fields: Fields, vocab: number): number | undefined {
  return fields.has('bos_token_id') ? fields.integer('bos_token_id', 0, vocab - 1) : undefined;
}

/** The tokens that end a text. */
export function readEos(fields: Fields, vocab: number): readonly number[] {
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
export function readDtype(text: Fields, document: Fields): PlainFormat | undefined {
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
