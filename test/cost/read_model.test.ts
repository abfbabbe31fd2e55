/** Hugging Face configurations as models to be costed. */
import { describe, expect, it } from 'vitest';
import { configToJson, PRESETS } from '../../src/config/index.ts';
import { COST_MODELS } from '../../src/cost/presets.ts';
import { readCostModel } from '../../src/cost/read_model.ts';
import { parameters, tokenCost } from '../../src/cost/token.ts';
import { ConfigError } from '../../src/errors.ts';
import { expectError } from '../weights/support.ts';

const LLAMA = {
  model_type: 'llama',
  hidden_size: 4096,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  intermediate_size: 14336,
  vocab_size: 128256,
};
const MISTRAL = { ...LLAMA, model_type: 'mistral', vocab_size: 32000, sliding_window: 4096 };
const EXPERTS = { moe_intermediate_size: 1408, num_experts_per_tok: 6, n_routed_experts: 64 };
const V2_LITE = {
  model_type: 'deepseek_v2',
  hidden_size: 2048,
  num_hidden_layers: 27,
  num_attention_heads: 16,
  q_lora_rank: null,
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  intermediate_size: 10944,
  ...EXPERTS,
  n_shared_experts: 2,
  first_k_dense_replace: 1,
  vocab_size: 102400,
};
const SCOUT = {
  model_type: 'llama4_text',
  hidden_size: 5120,
  num_hidden_layers: 48,
  num_attention_heads: 40,
  num_key_value_heads: 8,
  head_dim: 128,
  intermediate_size: 8192,
  intermediate_size_mlp: 16384,
  num_local_experts: 16,
  num_experts_per_tok: 1,
  interleave_moe_layer_step: 1,
  attention_chunk_size: 8192,
  no_rope_layers: [],
  vocab_size: 202048,
};
const ERNIE = {
  model_type: 'ernie4_5_moe',
  hidden_size: 2560,
  num_hidden_layers: 28,
  num_attention_heads: 20,
  num_key_value_heads: 4,
  intermediate_size: 12288,
  moe_intermediate_size: 1536,
  moe_k: 6,
  moe_num_experts: 64,
  moe_num_shared_experts: 2,
  moe_layer_start_index: 1,
  moe_layer_end_index: -1,
  vocab_size: 103424,
};
const QWEN_MOE = {
  model_type: 'qwen3_moe',
  hidden_size: 2048,
  num_hidden_layers: 48,
  num_attention_heads: 32,
  num_key_value_heads: 4,
  head_dim: 128,
  intermediate_size: 6144,
  moe_intermediate_size: 768,
  num_experts: 128,
  num_experts_per_tok: 8,
  decoder_sparse_step: 1,
  mlp_only_layers: [],
  vocab_size: 151936,
};
const MINIMAX = {
  model_type: 'minimax',
  hidden_size: 3072,
  num_hidden_layers: 62,
  num_attention_heads: 48,
  num_key_value_heads: 8,
  head_dim: 128,
  intermediate_size: 1536,
  num_local_experts: 256,
  num_experts_per_tok: 8,
  vocab_size: 200064,
  attn_type_list: Array(62).fill(1),
};
const GPT_OSS = {
  model_type: 'gpt_oss',
  hidden_size: 2880,
  num_hidden_layers: 24,
  num_attention_heads: 64,
  num_key_value_heads: 8,
  head_dim: 64,
  intermediate_size: 2880,
  num_local_experts: 32,
  experts_per_token: 4,
  vocab_size: 201088,
  sliding_window: 128,
  layer_types: Array.from({ length: 24 }, (_, i) => (i % 2 === 0 ? 'sliding_attention' : 'full_attention')),
};
const STEP_35 = {
  model_type: 'step3p5',
  hidden_size: 64,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_attention_groups: 2,
  head_dim: 16,
  // One entry more, for a draft layer.
  layer_types: ['full_attention', 'sliding_attention', 'sliding_attention', 'sliding_attention'],
  sliding_window: 8,
  attention_other_setting: { num_attention_heads: 6, num_attention_groups: 2 },
  intermediate_size: 128,
  moe_layers_enum: '1,2',
  moe_num_experts: 8,
  moe_top_k: 2,
  moe_intermediate_size: 32,
  share_expert_dim: 32,
  vocab_size: 256,
};

const billions = (config: object) => (parameters(readCostModel(config, 'm')).total / 1e9).toPrecision(3);

describe('parameters, in billions, are those that model cards give (norms and biases apart)', () => {
  it.each<[string, object, string]>([
    ['Llama 3.1 8B', LLAMA, '8.03'],
    ['Mistral 7B', MISTRAL, '7.24'],
    [
      'Mixtral 8x7B',
      { ...MISTRAL, model_type: 'mixtral', num_local_experts: 8, num_experts_per_tok: 2 },
      '46.7',
    ],
    [
      'Qwen2.5 7B',
      {
        ...LLAMA,
        model_type: 'qwen2',
        hidden_size: 3584,
        num_hidden_layers: 28,
        num_attention_heads: 28,
        num_key_value_heads: 4,
        intermediate_size: 18944,
        vocab_size: 152064,
      },
      '7.62',
    ],
    ['Qwen3 30B A3B', QWEN_MOE, '30.5'],
    [
      'Gemma 2 9B',
      {
        ...LLAMA,
        model_type: 'gemma2',
        hidden_size: 3584,
        num_hidden_layers: 42,
        num_attention_heads: 16,
        head_dim: 256,
        vocab_size: 256000,
        sliding_window: 4096,
      },
      '9.24',
    ],
    [
      'Gemma 3 4B, whose file leaves much to its class',
      {
        model_type: 'gemma3',
        text_config: {
          model_type: 'gemma3_text',
          hidden_size: 2560,
          num_hidden_layers: 34,
          intermediate_size: 10240,
          sliding_window: 1024,
        },
      },
      '3.88',
    ],
    ['gpt-oss 20B', GPT_OSS, '20.9'],
    ['DeepSeek V2 Lite', V2_LITE, '15.7'],
    [
      'GLM 4.5',
      {
        ...LLAMA,
        ...EXPERTS,
        model_type: 'glm4_moe',
        hidden_size: 5120,
        num_hidden_layers: 92,
        num_attention_heads: 96,
        head_dim: 128,
        intermediate_size: 12288,
        moe_intermediate_size: 1536,
        n_routed_experts: 160,
        n_shared_experts: 1,
        first_k_dense_replace: 3,
        vocab_size: 151552,
      },
      '353',
    ],
    ['ERNIE 4.5 21B A3B', ERNIE, '21.8'],
    ['Llama 4 Scout', { model_type: 'llama4', text_config: SCOUT }, '108'],
    ['MiniMax M2', MINIMAX, '229'],
  ])('%s', (_, config, expected) => {
    expect(billions(config)).toBe(Number(expected).toPrecision(3));
  });

  it.each([
    ['deepseek-v3', '671'],
    ['kimi-k2', '1026'],
    ['qwen3-235b', '235'],
    ['qwen3-32b', '33'],
    ['llama4-maverick', '401'],
    ['minimax-m1', '456'],
    ['ernie-4.5', '299'],
    ['pangu-pro', '72'],
    ['step3', '316'],
    ['step3.5-flash', '197'],
  ])('preset %s', (name, expected) => {
    expect((parameters(COST_MODELS[name]).total / 1e9).toFixed(0)).toBe(expected);
  });
});

describe('layers', () => {
  const groups = (config: object) =>
    readCostModel(config, 'm').attention.map(({ count, each }) => [
      count,
      each.kind === 'gqa' ? (each.window ?? 'full') : each.kind,
    ]);

  it('with windows, chunks and states', () => {
    expect(groups(LLAMA)).toEqual([[32, 'full']]);
    expect(groups(MISTRAL)).toEqual([[32, 4096]]);
    expect(groups({ ...MISTRAL, sliding_window: null })).toEqual([[32, 'full']]);
    const qwen = { ...LLAMA, model_type: 'qwen2', sliding_window: 1024, max_window_layers: 20 };
    expect(groups(qwen)).toEqual([[32, 'full']]);
    expect(groups({ ...qwen, use_sliding_window: true })).toEqual([
      [20, 'full'],
      [12, 1024],
    ]);
    expect(groups({ ...LLAMA, model_type: 'gemma3_text', sliding_window: 512 })).toEqual([
      [27, 512],
      [5, 'full'],
    ]);
    expect(groups(GPT_OSS)).toEqual([
      [12, 128],
      [12, 'full'],
    ]);
    expect(groups(SCOUT)).toEqual([
      [36, 8192],
      [12, 'full'],
    ]);
    expect(groups({ ...SCOUT, attention_chunk_size: null })).toEqual([[48, 'full']]);
    expect(groups(STEP_35)).toEqual([
      [1, 'full'],
      [2, 8],
    ]);
    const layer_types = Array.from({ length: 62 }, (_, i) =>
      i % 8 === 7 ? 'full_attention' : 'linear_attention',
    );
    expect(groups({ ...MINIMAX, attn_type_list: null, layer_types })).toEqual([
      [55, 'lightning'],
      [7, 'full'],
    ]);
  });

  it('stored in 8 bits, but in 16 in the full layers of hybrids', () => {
    const stored = (config: object) => readCostModel(config, 'm').attention.map(({ each }) => each.kv_bytes);
    expect(stored(GPT_OSS)).toEqual([1, 1]);
    expect(stored(SCOUT)).toEqual([1, 2]);
    expect(stored(MINIMAX)).toEqual([1]);
  });

  it('of Step-3.5 have heads of their own kind', () => {
    const { attention_flops, kv_bytes } = tokenCost(readCostModel(STEP_35, 'm'), 100);
    expect(attention_flops).toBe(4 * 16 * (4 * 100 + 2 * 6 * 8));
    expect(kv_bytes).toBe(2 * 2 * 16 * (100 + 2 * 8));
  });

  it('with experts as each family places them', () => {
    const ffn = (config: object) =>
      readCostModel(config, 'm').ffn.map(({ count, each }) => [count, each.kind]);
    expect(ffn(V2_LITE)).toEqual([
      [1, 'dense'],
      [26, 'moe'],
    ]);
    expect(ffn({ ...QWEN_MOE, decoder_sparse_step: 2, mlp_only_layers: [1, 3] })).toEqual([
      [26, 'dense'],
      [22, 'moe'],
    ]);
    expect(ffn({ ...ERNIE, moe_layer_end_index: 10, moe_layer_interval: 2 })).toEqual([
      [23, 'dense'],
      [5, 'moe'],
    ]);
    expect(ffn({ ...SCOUT, moe_layers: [0] })).toEqual([
      [1, 'moe'],
      [47, 'dense'],
    ]);
    expect(ffn({ ...V2_LITE, n_routed_experts: null })).toEqual([[27, 'dense']]);
    expect(ffn({ ...STEP_35, moe_layers_enum: [2] })).toEqual([
      [2, 'dense'],
      [1, 'moe'],
    ]);
  });

  it('of a Step-3 nested in step3_vl, and quantised', () => {
    const text_config = configToJson(PRESETS.step3);
    const config = { model_type: 'step3_vl', text_config, quantization_config: { quant_method: 'fp8' } };
    expect(readCostModel(config, 'Step-3')).toEqual(COST_MODELS.step3);
    // Kimi's later releases nest a model of DeepSeek's type.
    expect(
      groups({ model_type: 'kimi_k25', text_config: { ...V2_LITE, model_type: 'deepseek_v3' } }),
    ).toEqual([[27, 'mla']]);
  });

  it('tied embeddings count once', () => {
    const { total } = parameters(readCostModel(LLAMA, 'm'));
    const tied = parameters(readCostModel({ ...LLAMA, tie_word_embeddings: true }, 'm'));
    expect(total - tied.total).toBe(128256 * 4096);
    expect(tied.active).toBe(parameters(readCostModel(LLAMA, 'm')).active);
  });
});

type Case = readonly [string, unknown, ...string[]];

const HOSTILE: readonly Case[] = [
  ['null', null, 'config', 'a JSON object'],
  ['a list', [LLAMA], 'config', 'a JSON object'],
  ['no type', {}, 'model_type', 'llama', 'step3p5', 'got nothing'],
  ['an unknown family', { ...LLAMA, model_type: 'mamba' }, 'model_type', 'deepseek_v3', 'got "mamba"'],
  ['a type from the prototype', { ...LLAMA, model_type: 'toString' }, 'model_type'],
  ['a type that is a list', { ...LLAMA, model_type: ['llama'] }, 'model_type'],
  [
    'an unknown family inside',
    { model_type: 'x', text_config: { model_type: 'y' } },
    'text_config.model_type',
    '"y"',
  ],
  [
    'a text_config that is a string',
    { model_type: 'llama4', text_config: 'x' },
    'text_config',
    'a JSON object',
  ],
  ['no layers', { ...LLAMA, num_hidden_layers: 0 }, 'num_hidden_layers', 'from 1'],
  ['too many layers', { ...LLAMA, num_hidden_layers: 1e9 }, 'num_hidden_layers', 'got 1000000000'],
  ['a size that is text', { ...LLAMA, hidden_size: '4096' }, 'hidden_size', 'got "4096"'],
  ['a negative size', { ...LLAMA, intermediate_size: -1 }, 'intermediate_size', 'got -1'],
  ['a fraction', { ...LLAMA, vocab_size: 0.5 }, 'vocab_size', 'got 0.5'],
  ['infinity', { ...LLAMA, vocab_size: Number.POSITIVE_INFINITY }, 'vocab_size', 'Infinity'],
  ['no vocabulary', { ...LLAMA, vocab_size: undefined }, 'vocab_size', 'got nothing'],
  [
    'heads that do not group',
    { ...LLAMA, num_key_value_heads: 5 },
    'num_key_value_heads',
    'divisor',
    'got 5',
  ],
  ['heads that do not divide', { ...LLAMA, num_attention_heads: 24 }, 'head_dim', '24 heads', '4096'],
  ['a window that is missing', { ...GPT_OSS, sliding_window: null }, 'sliding_window', 'got null'],
  [
    'too few layer types',
    { ...GPT_OSS, layer_types: ['full_attention'] },
    'layer_types',
    '24 layers',
    '1 entries',
  ],
  [
    'an unknown layer type',
    { ...GPT_OSS, layer_types: Array(24).fill('linear_attention') },
    'layer_types[0]',
    'full_attention, sliding_attention',
    'linear_attention',
  ],
  ['layer types that are text', { ...GPT_OSS, layer_types: 'full_attention' }, 'layer_types', 'a list'],
  ['an attention type of 2', { ...MINIMAX, attn_type_list: Array(62).fill(2) }, 'attn_type_list[0]', 'got 2'],
  ['no attention types', { ...MINIMAX, attn_type_list: undefined }, 'attn_type_list', 'got nothing'],
  ['more chosen than there are', { ...QWEN_MOE, num_experts_per_tok: 129 }, 'num_experts_per_tok', 'at most'],
  ['no experts', { ...QWEN_MOE, num_experts: 0 }, 'num_experts', 'got 0'],
  ['shared experts left out', { ...ERNIE, moe_num_shared_experts: undefined }, 'moe_num_shared_experts'],
  [
    'a layer that is not there',
    { ...STEP_35, moe_layers_enum: '1,3' },
    'moe_layers_enum',
    'from 0 to 2',
    'got 3',
  ],
  ['layers that are no numbers', { ...STEP_35, moe_layers_enum: '1,,2' }, 'moe_layers_enum', 'got ""'],
  ['layers that are an object', { ...STEP_35, moe_layers_enum: {} }, 'moe_layers_enum'],
  [
    'experts without their layers',
    { ...STEP_35, moe_layers_enum: null },
    'moe_layers_enum',
    'layers with experts',
  ],
  [
    'two key heads in Step-3',
    { ...configToJson(PRESETS['step3-tiny']), num_attention_groups: 2 },
    'num_attention_groups',
  ],
  ['a rank of 0', { ...V2_LITE, q_lora_rank: 0 }, 'q_lora_rank', 'got 0'],
  ['a flag that is text', { ...LLAMA, tie_word_embeddings: 'yes' }, 'tie_word_embeddings', 'true or false'],
];

describe('what it refuses', () => {
  it.each(HOSTILE.map(([name, json, ...mentions]) => ({ name, json, mentions })))(
    '$name',
    ({ json, mentions }) =>
      expectError(() => readCostModel(json, 'm', 'config.json'), ConfigError, ['config.json', ...mentions]),
  );
});
