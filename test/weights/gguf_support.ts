/** Small GGUF files made in memory. */
import {
  encodeGgufHeader,
  type GgufTensorHeader,
  ggufBytes,
  type TypedValue,
} from '../../src/weights/gguf_writer.ts';
import { concat } from './support.ts';

export type Meta = Record<string, TypedValue>;

export const u32 = (value: number): TypedValue => ({ type: 'uint32', value });
export const f32 = (value: number): TypedValue => ({ type: 'float32', value });
export const str = (value: string): TypedValue => ({ type: 'string', value });
export const bool = (value: boolean): TypedValue => ({ type: 'bool', value });
export const ints = (...values: number[]): TypedValue => ({ type: 'array', of: 'int32', values });
export const floats = (...values: number[]): TypedValue => ({ type: 'array', of: 'float32', values });
export const bools = (...values: boolean[]): TypedValue => ({ type: 'array', of: 'bool', values });
export const texts = (...values: string[]): TypedValue => ({ type: 'array', of: 'string', values });

export interface TestTensor extends GgufTensorHeader {
  readonly bytes?: Uint8Array;
}

/** A whole file; tensors without bytes are zeros. */
export function ggufFile(metadata: Meta, tensors: readonly TestTensor[]): Uint8Array {
  const parts = [encodeGgufHeader(new Map(Object.entries(metadata)), tensors)];
  for (const tensor of tensors) {
    const bytes = new Uint8Array(Math.ceil(ggufBytes(tensor) / 32) * 32);
    bytes.set(tensor.bytes ?? []);
    parts.push(bytes);
  }
  return concat(...parts);
}

/** Metadata of a `step35` model of two dense and two mixture layers: full, sliding, sliding, full. */
export const STEP35: Meta = {
  'general.architecture': str('step35'),
  'step35.block_count': u32(4),
  'step35.context_length': u32(4096),
  'step35.embedding_length': u32(32),
  'step35.feed_forward_length': u32(64),
  'step35.attention.head_count': ints(2, 4, 4, 2),
  'step35.attention.head_count_kv': ints(2, 2, 2, 2),
  'step35.attention.key_length': u32(16),
  'step35.attention.value_length': u32(16),
  'step35.attention.layer_norm_rms_epsilon': f32(1e-5),
  'step35.attention.sliding_window': u32(16),
  'step35.attention.sliding_window_pattern': bools(false, true, true, false),
  'step35.rope.freq_base': f32(5e6),
  'step35.rope.freq_base_swa': f32(1e4),
  'step35.expert_count': u32(3),
  'step35.expert_used_count': u32(2),
  'step35.expert_feed_forward_length': u32(32),
  'step35.expert_shared_feed_forward_length': u32(32),
  'step35.expert_weights_scale': f32(3),
  'step35.expert_weights_norm': bool(true),
  'step35.expert_gating_func': u32(2),
  'step35.leading_dense_block_count': u32(2),
  'step35.moe_every_n_layers': u32(1),
  'step35.swiglu_clamp_exp': floats(0, 0, 0, 7),
  'step35.swiglu_clamp_shexp': floats(0, 0, 0, 16),
};

/** Metadata of a `step3` model (our own architecture name) of three layers, the middle one a mixture. */
export const STEP3: Meta = {
  'general.architecture': str('step3'),
  'step3.block_count': u32(3),
  'step3.context_length': u32(256),
  'step3.embedding_length': u32(32),
  'step3.feed_forward_length': u32(64),
  'step3.attention.head_count': u32(2),
  'step3.attention.head_count_kv': u32(1),
  'step3.attention.key_length': u32(16),
  'step3.attention.value_length': u32(16),
  'step3.attention.q_lora_rank': u32(32),
  'step3.attention.layer_norm_rms_epsilon': f32(1e-5),
  'step3.rope.freq_base': f32(5e5),
  'step3.expert_count': u32(3),
  'step3.expert_used_count': u32(2),
  'step3.expert_feed_forward_length': u32(32),
  'step3.expert_shared_feed_forward_length': u32(32),
  'step3.expert_weights_norm': bool(false),
  'step3.moe_layers': ints(1),
};

/** The tensors of {@link STEP3}: matrices in `format`, the rest f32. Contents from `bytesOf`, zeros without it. */
export function step3Tensors(
  format: GgufTensorHeader['format'],
  bytesOf: (tensor: GgufTensorHeader) => Uint8Array | undefined = () => undefined,
): TestTensor[] {
  const tensors: GgufTensorHeader[] = [
    { name: 'token_embd.weight', format, shape: [64, 32] },
    { name: 'output_norm.weight', format: 'f32', shape: [32] },
    { name: 'output.weight', format, shape: [64, 32] },
  ];
  for (let layer = 0; layer < 3; layer++) {
    const add = (name: string, shape: number[], as = format) =>
      tensors.push({ name: `blk.${layer}.${name}.weight`, format: as, shape });
    add('attn_norm', [32], 'f32');
    add('attn_q_a', [32, 32]);
    add('attn_q_a_norm', [32], 'f32');
    add('attn_q_b', [32, 32]);
    add('attn_k', [16, 32]);
    add('attn_v', [16, 32]);
    add('attn_output', [32, 32]);
    add('ffn_norm', [32], 'f32');
    if (layer !== 1) {
      for (const part of ['ffn_gate', 'ffn_up']) add(part, [64, 32]);
      add('ffn_down', [32, 64]);
      continue;
    }
    add('ffn_gate_inp', [3, 32], 'f32');
    for (const part of ['ffn_gate_exps', 'ffn_up_exps', 'ffn_down_exps']) add(part, [3, 32, 32]);
    for (const part of ['ffn_gate_shexp', 'ffn_up_shexp', 'ffn_down_shexp']) add(part, [32, 32]);
  }
  return tensors.map((tensor) => {
    const bytes = bytesOf(tensor);
    return bytes === undefined ? tensor : { ...tensor, bytes };
  });
}
