import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { configToJson, hasVisionTower, PRESETS, parseConfig } from '../../src/config/index.ts';

const TINY = PRESETS['step3-tiny'];
const json = (changes: object = {}) => ({ ...configToJson(TINY), ...changes });

async function fixture(name: string): Promise<unknown> {
  return JSON.parse(await readFile(new URL(`../fixtures/${name}/config.json`, import.meta.url), 'utf8'));
}

describe('parseConfig', () => {
  it('reads a flat configuration', async () => {
    expect(parseConfig(await fixture('step3-tiny'))).toEqual({
      architecture: 'step3',
      hidden_size: 64,
      intermediate_size: 96,
      num_hidden_layers: 5,
      num_attention_heads: 4,
      head_dim: 16,
      share_q_dim: 24,
      moe_num_experts: 6,
      moe_top_k: 2,
      moe_intermediate_size: 40,
      share_expert_dim: 40,
      moe_layers: [1, 2, 3],
      norm_expert_weight: false,
      rms_norm_eps: 1e-5,
      rope_theta: 500000,
      max_seq_len: 65536,
      vocab_size: 101,
      bos_token_id: undefined,
      eos_token_ids: [],
      torch_dtype: 'f32',
    });
  });

  it('reads the text_config of a vision-language model', async () => {
    const nested = await fixture('step3-small-bf16');
    expect(parseConfig(nested)).toMatchObject({ hidden_size: 192, moe_layers: [1, 2], torch_dtype: 'bf16' });
    expect(hasVisionTower(nested)).toBe(true);
    expect(hasVisionTower(json())).toBe(false);
  });

  it('takes special tokens and dtype from the outer document when text_config has none', () => {
    const { eos_token_id: _, torch_dtype: __, ...text_config } = json();
    const outer = {
      model_type: 'step3_vl',
      text_config,
      eos_token_id: [1, 2],
      bos_token_id: 0,
      dtype: 'float16',
    };
    expect(parseConfig(outer)).toMatchObject({ eos_token_ids: [1, 2], bos_token_id: 0, torch_dtype: 'f16' });
  });

  it.each([
    ['2,1', [1, 2]],
    [' 1 , 3\n', [1, 3]],
    ['', []],
    [
      [3, 0],
      [0, 3],
    ],
    [[], []],
  ])('reads moe_layers_enum %j', (moe_layers_enum, layers) => {
    expect(parseConfig(json({ moe_layers_enum })).moe_layers).toEqual(layers);
  });

  it('reads a model without MoE layers', () => {
    const dense = Object.fromEntries(
      Object.entries(json()).filter(([name]) => !/moe|share_expert/.test(name)),
    );
    expect(parseConfig(dense)).toMatchObject({ moe_layers: [], moe_num_experts: 0, moe_top_k: 0 });
    expect(parseConfig({ ...dense, use_moe: false, moe_num_experts: 8 }).moe_layers).toEqual([]);
  });

  it('fills in the defaults of the model class', () => {
    const { norm_expert_weight: _, rms_norm_eps: __, rope_theta: ___, ...rest } = json();
    expect(parseConfig(rest)).toEqual(TINY);
  });

  it('takes either name of the context length', () => {
    const { max_seq_len: _, max_position_embedding: __, ...rest } = json();
    expect(parseConfig({ ...rest, max_seq_len: 99 }).max_seq_len).toBe(99);
    expect(parseConfig({ ...rest, max_position_embedding: 98 }).max_seq_len).toBe(98);
  });

  it('needs only one of model_type and architectures', () => {
    const { model_type: _, ...byClass } = json();
    const { architectures: __, ...byType } = json();
    expect(parseConfig(byClass)).toEqual(TINY);
    expect(parseConfig(byType)).toEqual(TINY);
  });
});

describe('configToJson', () => {
  it.each(Object.keys(PRESETS))('round-trips %s', (name) => {
    const text = JSON.stringify(configToJson(PRESETS[name]));
    expect(parseConfig(JSON.parse(text))).toEqual(PRESETS[name]);
  });

  it('round-trips several end tokens, a first token and no dtype', () => {
    const config = { ...TINY, eos_token_ids: [5, 7], bos_token_id: 0, torch_dtype: undefined };
    expect(parseConfig(configToJson(config))).toEqual(config);
  });
});
