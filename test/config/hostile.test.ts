/** Configurations that are wrong on purpose: each must end in a ConfigError that names the field. */
import { describe, it } from 'vitest';
import { configToJson, parseConfig } from '../../src/config/index.ts';
import { ConfigError } from '../../src/errors.ts';
import { expectError, TINY } from '../weights/support.ts';

const config = (changes: object) => ({ ...configToJson(TINY), ...changes });
const nestedList = (depth: number) => {
  let list: unknown[] = [];
  for (let i = 0; i < depth; i++) list = [list];
  return list;
};

type ConfigCase = readonly [string, unknown, ...string[]];

const CONFIGS: readonly ConfigCase[] = [
  ['null', null, 'object'],
  ['a list', [], 'object'],
  ['a string', 'step3', 'object'],
  ['an empty object', {}, 'model_type'],
  ['another architecture', config({ model_type: 'llama' }), 'model_type', 'step3_text, step3_vl', '"llama"'],
  ['another class', config({ architectures: ['LlamaForCausalLM'] }), 'architectures', 'Step3TextForCausalLM'],
  ['two classes', config({ architectures: ['Step3TextForCausalLM', 'X'] }), 'architectures'],
  [
    'a class of the other type',
    config({ architectures: ['Step3VLForConditionalGeneration'] }),
    'architectures',
  ],
  ['a type from the prototype', config({ model_type: 'toString', architectures: undefined }), 'model_type'],
  ['no text_config', { model_type: 'step3_vl' }, 'text_config', 'got nothing'],
  ['a text_config that is a list', { model_type: 'step3_vl', text_config: [] }, 'text_config'],
  [
    'a text_config of another type',
    { model_type: 'step3_vl', text_config: config({ model_type: 'step3p5' }) },
    'text_config.model_type',
  ],
  [
    'a nested field of the wrong type',
    { model_type: 'step3_vl', text_config: config({ head_dim: '256' }) },
    'text_config.head_dim',
  ],
  ['no hidden_size', config({ hidden_size: undefined }), 'hidden_size', 'got nothing'],
  ['hidden_size null', config({ hidden_size: null }), 'hidden_size', 'got null'],
  ['hidden_size 0', config({ hidden_size: 0 }), 'hidden_size'],
  ['hidden_size a string', config({ hidden_size: '64' }), 'hidden_size', '"64"'],
  ['hidden_size NaN', config({ hidden_size: Number.NaN }), 'hidden_size', 'NaN'],
  ['hidden_size infinite', config({ hidden_size: Infinity }), 'hidden_size', 'Infinity'],
  ['hidden_size absurd', config({ hidden_size: 2 ** 40 }), 'hidden_size', '1048576'],
  ['a negative width', config({ intermediate_size: -96 }), 'intermediate_size', '-96'],
  ['a fractional width', config({ share_q_dim: 16.5 }), 'share_q_dim', '16.5'],
  ['a billion layers', config({ num_hidden_layers: 1e9 }), 'num_hidden_layers', '1024'],
  ['no heads', config({ num_attention_heads: 0 }), 'num_attention_heads'],
  ['an odd head_dim', config({ head_dim: 15 }), 'head_dim', 'even'],
  ['a large head_dim', config({ head_dim: 1024 }), 'head_dim', '512'],
  ['8 attention groups', config({ num_attention_groups: 8 }), 'num_attention_groups', '1'],
  ['a huge vocabulary', config({ vocab_size: 2 ** 25 }), 'vocab_size', '16777216'],
  ['moe_top_k above moe_num_experts', config({ moe_top_k: 9 }), 'moe_top_k', 'moe_num_experts (8)', '9'],
  ['moe_top_k 0', config({ moe_top_k: 0 }), 'moe_top_k'],
  ['too many experts', config({ moe_num_experts: 4096 }), 'moe_num_experts', '1024'],
  ['MoE layers without experts', config({ moe_num_experts: undefined }), 'moe_num_experts'],
  [
    'experts without MoE layers',
    config({ moe_layers_enum: undefined, moe_every_n_layer: 1 }),
    'moe_layers_enum',
  ],
  ['a MoE layer past the last', config({ moe_layers_enum: '1,2,4' }), 'moe_layers_enum', 'got 4'],
  ['a MoE layer twice', config({ moe_layers_enum: '1,2,1' }), 'moe_layers_enum', 'got 1'],
  ['a MoE layer that is a word', config({ moe_layers_enum: '1,two' }), 'moe_layers_enum'],
  ['a MoE list with a hole', config({ moe_layers_enum: '1,,2' }), 'moe_layers_enum'],
  ['a MoE list in hexadecimal', config({ moe_layers_enum: '0x1' }), 'moe_layers_enum'],
  ['a MoE list of strings', config({ moe_layers_enum: ['1'] }), 'moe_layers_enum', '"1"'],
  ['a MoE list of 100 MB', config({ moe_layers_enum: '1,'.repeat(5e7) }), 'moe_layers_enum', 'shorter'],
  ['a MoE list nested 100,000 deep', config({ moe_layers_enum: nestedList(100_000) }), 'moe_layers_enum'],
  ['use_moe false with MoE layers', config({ use_moe: false }), 'use_moe'],
  ['a flag that is a number', config({ norm_expert_weight: 1 }), 'norm_expert_weight'],
  ['rms_norm_eps 0', config({ rms_norm_eps: 0 }), 'rms_norm_eps'],
  ['rms_norm_eps NaN', config({ rms_norm_eps: Number.NaN }), 'rms_norm_eps', 'NaN'],
  ['a negative rope_theta', config({ rope_theta: -1 }), 'rope_theta'],
  ['rope_scaling', config({ rope_scaling: { rope_type: 'yarn' } }), 'rope_scaling', 'yarn'],
  ['tied embeddings', config({ tie_word_embeddings: true }), 'tie_word_embeddings'],
  ['another activation', config({ hidden_act: 'gelu' }), 'hidden_act', '"silu"', '"gelu"'],
  ['biases', config({ attention_bias: true }), 'attention_bias'],
  [
    'two context lengths',
    config({ max_position_embedding: 8 }),
    'max_position_embedding',
    'max_seq_len (65536)',
  ],
  [
    'no context length',
    config({ max_seq_len: undefined, max_position_embedding: undefined }),
    'max_seq_len',
    'got nothing',
  ],
  ['a context of 2^21', config({ max_seq_len: 2 ** 21 }), 'max_seq_len'],
  ['a first token outside the vocabulary', config({ bos_token_id: 320 }), 'bos_token_id', '320'],
  ['an end token outside the vocabulary', config({ eos_token_id: [1, -1] }), 'eos_token_id', '-1'],
  ['an end token that is a word', config({ eos_token_id: '<end>' }), 'eos_token_id', '<end>'],
  ['an unknown dtype', config({ torch_dtype: 'float8_e4m3fn' }), 'torch_dtype', 'bfloat16', 'float8_e4m3fn'],
  ['a value that is a megabyte long', config({ hidden_size: 'x'.repeat(1e6) }), 'hidden_size', '...'],
];

describe('hostile configurations', () => {
  it.each(CONFIGS.map(([name, json, ...mentions]) => ({ name, json, mentions })))(
    '$name',
    ({ json, mentions }) =>
      expectError(() => parseConfig(json, 'config.json'), ConfigError, ['config.json', ...mentions]),
  );
});
