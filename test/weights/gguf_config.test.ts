/** GGUF metadata as a `config.json`, rope scaling from divisors, and tokenizers. */
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/errors.ts';
import { loadTokenizer } from '../../src/runtime/text.ts';
import { readGguf } from '../../src/weights/gguf.ts';
import { ggufConfig, readArch } from '../../src/weights/gguf_config.ts';
import { Metadata } from '../../src/weights/gguf_metadata.ts';
import { ggufTexts } from '../../src/weights/gguf_tokenizer.ts';
import { scalingOf } from '../../src/weights/rope_divisors.ts';
import { memoryFile, memorySource, withTexts } from '../../src/weights/source.ts';
import {
  bool,
  bools,
  f32,
  floats,
  ggufFile,
  ints,
  type Meta,
  STEP3,
  STEP35,
  str,
  texts,
  u32,
} from './gguf_support.ts';
import { expectError } from './support.ts';

const metadata = async (meta: Meta) =>
  new Metadata('x.gguf', (await readGguf(memoryFile('x.gguf', ggufFile(meta, [])))).metadata);
const FACTS = { vocab: 64, head: true, divisors: undefined };
const config = async (meta: Meta, facts: object = {}) => {
  const m = await metadata(meta);
  return ggufConfig(readArch(m), m, { ...FACTS, ...facts });
};

/** The rule of Llama 3, in another form than the code that is tested. */
function divisors(
  dims: number,
  theta: number,
  factor: number,
  original: number,
  low: number,
  high: number,
): number[] {
  return Array.from({ length: dims / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / dims);
    const wave = (2 * Math.PI) / frequency;
    if (wave < original / high) return 1;
    if (wave > original / low) return factor;
    const smooth = (original / wave - low) / (high - low);
    return Math.fround(frequency / (((1 - smooth) * frequency) / factor + smooth * frequency));
  });
}

describe('ggufConfig', () => {
  it('step35, as the published config.json has it', async () => {
    expect(
      await config({
        ...STEP35,
        'tokenizer.ggml.bos_token_id': u32(0),
        'tokenizer.ggml.eos_token_id': u32(2),
        'tokenizer.ggml.eot_token_id': u32(7),
      }),
    ).toEqual({
      architectures: ['Step3p5ForCausalLM'],
      model_type: 'step3p5',
      vocab_size: 64,
      hidden_size: 32,
      intermediate_size: 64,
      num_hidden_layers: 4,
      num_nextn_predict_layers: 0,
      num_attention_heads: 2,
      num_attention_groups: 2,
      head_dim: 16,
      attention_other_setting: {
        attention_type: 'sliding_attention',
        num_attention_heads: 4,
        num_attention_groups: 2,
        head_dim: 16,
      },
      layer_types: ['full_attention', 'sliding_attention', 'sliding_attention', 'full_attention'],
      sliding_window: 16,
      rope_theta: [5e6, 1e4, 1e4, 5e6],
      partial_rotary_factors: [0.5, 1, 1, 0.5],
      rope_scaling: null,
      yarn_only_types: ['full_attention'],
      rms_norm_eps: 1e-5,
      moe_layers_enum: '2,3',
      moe_num_experts: 3,
      moe_top_k: 2,
      moe_intermediate_size: 32,
      share_expert_dim: 32,
      norm_expert_weight: true,
      moe_router_scaling_factor: 3,
      moe_router_activation: 'sigmoid',
      use_moe_router_bias: true,
      need_fp32_gate: true,
      use_qk_norm: true,
      use_head_wise_attn_gate: true,
      swiglu_limits: [0, 0, 0, 7],
      swiglu_limits_shared: [0, 0, 0, 16],
      max_seq_len: 4096,
      max_position_embeddings: 4096,
      tie_word_embeddings: false,
      zero_centered: false,
      bos_token_id: 0,
      eos_token_id: [2, 7],
    });
  });

  it('counts the blocks that predict further tokens apart', async () => {
    const json = await config({ ...STEP35, 'step35.nextn_predict_layers': u32(1) });
    expect(json).toMatchObject({ num_hidden_layers: 3, num_nextn_predict_layers: 1, moe_layers_enum: '2' });
    expect(json.layer_types).toHaveLength(4);
  });

  it('step3, our own name', async () => {
    expect(await config(STEP3)).toMatchObject({
      model_type: 'step3_text',
      share_q_dim: 32,
      moe_layers_enum: '1',
      norm_expert_weight: false,
      rope_theta: 500000,
      num_attention_groups: 1,
    });
  });

  it.each([
    ['the released model', 64, 5e6, 2, 131072, 1, 32],
    ['one frequency in between', 32, 5e6, 2, 16, 1, 32],
    ['other factors', 64, 5e5, 8, 8192, 1, 4],
    ['a step', 16, 1e6, 4, 1000, 1, 1.0001],
    ['all stretched', 16, 1e6, 4, 6, 1, 1.5],
  ])('finds the rope scaling behind the divisors: %s', (_, dims, theta, factor, original, low, high) => {
    const given = divisors(dims, theta, factor, original, low, high);
    const found = scalingOf(given, theta)!;
    expect(found.factor).toBe(factor);
    const again = divisors(
      dims,
      theta,
      found.factor,
      found.original_max_position_embeddings,
      found.low_freq_factor,
      found.high_freq_factor,
    );
    for (const [i, divisor] of again.entries()) expect(divisor / given[i]).toBeCloseTo(1, 5);
    if (original === 131072)
      expect(found).toMatchObject({ original_max_position_embeddings: 131072, high_freq_factor: 32 });
  });

  it('takes rope_freqs.weight for rope_scaling', async () => {
    const meta = {
      ...STEP35,
      'step35.attention.key_length': u32(64),
      'step35.attention.value_length': u32(64),
    };
    const list = [...divisors(32, 5e6, 2, 16, 1, 32), ...Array<number>(16).fill(1)];
    expect(await config(meta, { divisors: list })).toMatchObject({
      rope_scaling: {
        rope_type: 'llama3',
        factor: 2,
        original_max_position_embeddings: 16,
        high_freq_factor: 32,
      },
    });
    expect(await config(meta, { divisors: Array<number>(32).fill(1) })).toMatchObject({ rope_scaling: null });
    const bad = [
      list.slice(1),
      list.map((d) => d + 0.1),
      list.map((d, i) => (i === 3 ? 1.5 : d)),
      list.map(() => Number.NaN),
      list.map((d, i) => (i === 20 ? 2 : d)),
    ];
    for (const wrong of bad)
      await expectError(() => config(meta, { divisors: wrong }), ConfigError, ['x.gguf', 'rope_freqs']);
  });

  const HOSTILE: readonly (readonly [string, Meta, ...string[]])[] = [
    ['no architecture', { 'general.architecture': u32(1) }, 'general.architecture'],
    [
      'another architecture',
      { 'general.architecture': str('llama') },
      'general.architecture',
      'step35, step3',
      'llama',
    ],
    [
      'a key that is unknown',
      { ...STEP35, 'step35.attention.softcap': f32(30) },
      'step35.attention.softcap',
      'known',
    ],
    [
      'a key that is missing',
      { ...STEP35, 'step35.attention.head_count': str('64') },
      'step35.attention.head_count',
      'list of numbers',
    ],
    [
      'too few heads',
      { ...STEP35, 'step35.attention.head_count': ints(2, 4) },
      'head_count',
      '4 values',
      '2 values',
    ],
    [
      'heads that differ',
      { ...STEP35, 'step35.attention.head_count': ints(2, 4, 6, 2) },
      'head_count',
      '4 in layer 2',
      'got 6',
    ],
    [
      'two head widths',
      { ...STEP35, 'step35.attention.value_length': u32(8) },
      'value_length',
      '16',
      'got 8',
    ],
    ['a billion blocks', { ...STEP35, 'step35.block_count': u32(1e9) }, 'block_count', '1024'],
    [
      'nothing but draft blocks',
      { ...STEP35, 'step35.nextn_predict_layers': u32(4) },
      'nextn_predict_layers',
    ],
    [
      'a pattern of numbers',
      { ...STEP35, 'step35.attention.sliding_window_pattern': ints(0, 1, 1, 0) },
      'sliding_window_pattern',
    ],
    [
      'softmax routing',
      { ...STEP35, 'step35.expert_gating_func': u32(1) },
      'expert_gating_func',
      '2',
      'got 1',
    ],
    ['every second layer', { ...STEP35, 'step35.moe_every_n_layers': u32(2) }, 'moe_every_n_layers'],
    [
      'another rotary width',
      { ...STEP35, 'step35.rope.dimension_count': u32(8) },
      'rope.dimension_count',
      '16',
    ],
    ['yarn', { ...STEP35, 'step35.rope.scaling.type': str('yarn') }, 'rope.scaling.type'],
    [
      'limits that are NaN',
      { ...STEP35, 'step35.swiglu_clamp_exp': floats(0, 0, 0, Number.NaN) },
      'swiglu_clamp_exp',
    ],
    [
      'truth as a limit',
      { ...STEP35, 'step35.swiglu_clamp_exp': bools(true, true, true, true) },
      'swiglu_clamp_exp',
    ],
    ['another vocabulary', { ...STEP35, 'step35.vocab_size': u32(65) }, 'vocab_size', '64', 'got 65'],
    ['two key heads in step3', { ...STEP3, 'step3.attention.head_count_kv': u32(2) }, 'head_count_kv', '1'],
  ];

  it.each(HOSTILE.map(([name, meta, ...mentions]) => ({ name, meta, mentions })))(
    'refuses $name',
    ({ meta, mentions }) => expectError(() => config(meta), ConfigError, ['x.gguf', ...mentions]),
  );

  it('says which key is missing', async () => {
    for (const key of Object.keys(STEP35)) {
      const { [key]: _, ...rest } = STEP35;
      // Those that the loader of llama.cpp can do without.
      if (/expert_(weights|gating)|leading_dense|every_n|clamp|freq_base_swa/.test(key)) await config(rest);
      else await expectError(() => config(rest), ConfigError, [key.replace('expert_count', 'expert_')]);
    }
  });
});

const TOKENS: Meta = {
  'tokenizer.ggml.model': str('gpt2'),
  'tokenizer.ggml.pre': str('deepseek-v3'),
  'tokenizer.ggml.tokens': texts(
    '<s>',
    'a',
    'b',
    'c',
    'ab',
    'Ġ',
    'Ġa',
    '1',
    '2',
    '<|im_end|>',
    '12',
    '<tool>',
  ),
  'tokenizer.ggml.token_type': ints(3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 4),
  'tokenizer.ggml.merges': texts('a b', 'Ġ a', '1 2'),
  'tokenizer.ggml.bos_token_id': u32(0),
  'tokenizer.ggml.eos_token_id': u32(9),
  'tokenizer.chat_template': str('{{ messages }}'),
};

describe('ggufTexts', () => {
  const tokenizer = async (meta: Meta) => {
    const files = ggufTexts(await metadata(meta), 12);
    return (await loadTokenizer(withTexts(memorySource('memory', new Map()), files), 12))!;
  };

  it('makes a tokenizer with merges, special tokens and a pre-tokenizer', async () => {
    const codec = await tokenizer(TOKENS);
    expect(codec.encode('ab ac<|im_end|>12<tool>')).toEqual([4, 6, 3, 9, 10, 11]);
    expect(codec.decode([4, 6, 3, 9, 11])).toBe('ab ac<tool>');
    expect(codec.size).toBe(12);
    expect(ggufTexts(await metadata(TOKENS), 12).get('chat_template.jinja')).toBe('{{ messages }}');
    expect((await tokenizer({ ...TOKENS, 'tokenizer.ggml.add_bos_token': bool(true) })).encode('a')).toEqual([
      0, 1,
    ]);
  });

  it('is empty without a tokenizer', async () => {
    expect(ggufTexts(await metadata({}), 12).size).toBe(0);
  });

  it.each([
    ['another model', { 'tokenizer.ggml.model': str('llama') }, ['tokenizer.ggml.model', 'gpt2']],
    ['another pre-tokenizer', { 'tokenizer.ggml.pre': str('qwen2') }, ['tokenizer.ggml.pre', 'deepseek-v3']],
    ['a pre-tokenizer from the prototype', { 'tokenizer.ggml.pre': str('toString') }, ['tokenizer.ggml.pre']],
    [
      'more tokens than the vocabulary',
      { 'tokenizer.ggml.tokens': texts(...'abcdefghijklm') },
      ['at most 12'],
    ],
    ['a token twice', { 'tokenizer.ggml.tokens': texts(...Array(12).fill('a')) }, ['twice']],
    ['a merge of unknown tokens', { 'tokenizer.ggml.merges': texts('a z') }, ['merges', 'a z']],
    ['a merge without a space', { 'tokenizer.ggml.merges': texts('ab') }, ['merges']],
    ['types of other length', { 'tokenizer.ggml.token_type': ints(1) }, ['token_type', '12 values']],
    ['a last token outside', { 'tokenizer.ggml.eos_token_id': u32(12) }, ['eos_token_id', 'below 12']],
  ] as const)('refuses %s', (_, change, mentions) =>
    expectError(async () => ggufTexts(await metadata({ ...TOKENS, ...change }), 12), ConfigError, [
      'x.gguf',
      ...mentions,
    ]),
  );
});
