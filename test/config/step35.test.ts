import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { configToJson, layerClasses, layerFacts, parseConfig, preset } from '../../src/config/index.ts';
import { ConfigError } from '../../src/errors.ts';
import { expectError } from '../weights/support.ts';

const TINY = preset('step35-tiny');
const FLASH = preset('step35-flash');
const json = (changes: object = {}) => ({ ...configToJson(TINY), ...changes });

describe('Step-3.5-Flash configurations', () => {
  it('reads the reference checkpoint', async () => {
    const file = new URL('../fixtures/step35-tiny/config.json', import.meta.url);
    const config = parseConfig(JSON.parse(await readFile(file, 'utf8')));
    expect(config).toMatchObject({
      architecture: 'step35',
      num_hidden_layers: 6,
      num_nextn_predict_layers: 0,
      num_attention_groups: 2,
      attention_other_setting: { num_attention_heads: 6, num_attention_groups: 2, head_dim: 16 },
      sliding_window: 5,
      moe_layers: [2, 3, 4, 5],
      swiglu_limits: [0, 0, 0, 0, 0.05, 0.05],
      rope_scaling: {
        factor: 2,
        original_max_position_embeddings: 16,
        low_freq_factor: 1,
        high_freq_factor: 32,
      },
      zero_centered: true,
      torch_dtype: 'f32',
    });
  });

  it.each([TINY, FLASH])('survives being written', (config) => {
    expect(parseConfig(configToJson(config))).toEqual(config);
  });

  it('is known by its class alone', () => {
    expect(parseConfig(json({ model_type: undefined })).architecture).toBe('step35');
  });

  it('cuts lists that are longer than its layers', () => {
    const cut = parseConfig(json({ num_nextn_predict_layers: 0 }));
    expect(cut).toEqual({
      ...TINY,
      num_nextn_predict_layers: 0,
      layer_types: TINY.layer_types.slice(0, 5),
      rope_theta: TINY.rope_theta.slice(0, 5),
      partial_rotary_factors: TINY.partial_rotary_factors.slice(0, 5),
      swiglu_limits: TINY.swiglu_limits.slice(0, 5),
      swiglu_limits_shared: TINY.swiglu_limits_shared.slice(0, 5),
    });
  });

  it('takes null for no limit, in a list and instead of one', () => {
    expect(parseConfig(json({ swiglu_limits: null }))).toMatchObject({ swiglu_limits: Array(8).fill(0) });
    const limits = [null, 0, null, 0, 7, null, 0, 0];
    expect(parseConfig(json({ swiglu_limits_shared: limits }))).toMatchObject({
      swiglu_limits_shared: [0, 0, 0, 0, 7, 0, 0, 0],
    });
  });

  it('states the facts of the released layers', () => {
    const scaling = FLASH.rope_scaling;
    expect(layerFacts(FLASH, 0)).toEqual({
      attention: {
        heads: 64,
        kvHeads: 8,
        headDim: 128,
        rope: { dim: 64, theta: 5e6, scaling },
        window: undefined,
        latent: undefined,
        headNorm: true,
        gate: true,
      },
      ffn: { kind: 'dense', width: 11264, limit: 0 },
    });
    const last = layerFacts(FLASH, 43);
    expect(last.attention).toMatchObject({ heads: 96, window: 512, rope: { dim: 128, theta: 1e4 } });
    expect(last.ffn).toMatchObject({
      kind: 'moe',
      limit: 7,
      shareLimit: 16,
      routing: { scoring: 'sigmoid', scale: 3 },
    });
    // Multi-token-prediction blocks are dense.
    expect(layerFacts(FLASH, 45).ffn.kind).toBe('dense');
    expect(layerClasses(FLASH, 3).map(({ window }) => window)).toEqual([undefined, 512]);
  });
});

const HOSTILE: readonly (readonly [string, object, ...string[]])[] = [
  ['another class', { architectures: ['Step3TextForCausalLM'] }, 'architectures', 'Step3p5ForCausalLM'],
  ['softmax routing', { moe_router_activation: 'softmax' }, 'moe_router_activation', '"sigmoid"'],
  ['routing by default', { moe_router_activation: undefined }, 'moe_router_activation', 'nothing'],
  ['no router bias', { use_moe_router_bias: false }, 'use_moe_router_bias'],
  ['no head norm', { use_qk_norm: false }, 'use_qk_norm'],
  ['no gate', { use_head_wise_attn_gate: undefined }, 'use_head_wise_attn_gate'],
  ['norms that may be centred or not', { zero_centered: undefined }, 'zero_centered', 'true or false'],
  ['a word for a flag', { zero_centered: 'yes' }, 'zero_centered'],
  ['attention sinks', { sink: true }, 'sink'],
  ['tied embeddings', { tie_word_embeddings: true }, 'tie_word_embeddings'],
  ['groups that do not divide the heads', { num_attention_groups: 3 }, 'num_attention_groups', 'divisor'],
  ['more groups than heads', { num_attention_groups: 5 }, 'num_attention_groups'],
  ['no other heads', { attention_other_setting: undefined }, 'attention_other_setting', 'object'],
  [
    'other heads of another type',
    { attention_other_setting: { attention_type: 'full_attention' } },
    'attention_other_setting.attention_type',
  ],
  [
    'other heads without a width',
    {
      attention_other_setting: {
        attention_type: 'sliding_attention',
        num_attention_heads: 6,
        num_attention_groups: 2,
      },
    },
    'attention_other_setting.head_dim',
  ],
  ['too few types', { layer_types: TINY.layer_types.slice(0, 7) }, 'layer_types', '8 layers', '7 entries'],
  ['an unknown type', { layer_types: Array(8).fill('linear_attention') }, 'layer_types', 'linear_attention'],
  ['types as text', { layer_types: 'full_attention' }, 'layer_types'],
  ['no window', { sliding_window: null }, 'sliding_window'],
  ['an empty window', { sliding_window: 0 }, 'sliding_window'],
  ['one theta', { rope_theta: 10000 }, 'rope_theta', 'list'],
  ['a theta of 0', { rope_theta: Array(8).fill(0) }, 'rope_theta'],
  ['a rotary factor above 1', { partial_rotary_factors: Array(8).fill(1.5) }, 'partial_rotary_factors'],
  [
    'an odd number of rotated elements',
    { partial_rotary_factors: Array(8).fill(0.3125) },
    'partial_rotary_factors',
  ],
  ['another scaling', { rope_scaling: { rope_type: 'yarn' } }, 'rope_scaling.rope_type', '"llama3"'],
  [
    'a scaling without factor',
    { rope_scaling: { ...TINY.rope_scaling, rope_type: 'llama3', factor: null } },
    'factor',
  ],
  [
    'a scaling with frequencies the wrong way round',
    { rope_scaling: { ...TINY.rope_scaling, rope_type: 'llama3', high_freq_factor: 0.5 } },
    'rope_scaling.high_freq_factor',
  ],
  ['a scaling for no type', { yarn_only_types: undefined }, 'yarn_only_types'],
  ['a negative limit', { swiglu_limits: Array(8).fill(-1) }, 'swiglu_limits'],
  ['a limit that is a word', { swiglu_limits_shared: Array(8).fill('7') }, 'swiglu_limits_shared'],
  ['too few limits', { swiglu_limits: [0] }, 'swiglu_limits', '1 entries'],
  ['a hundred blocks', { num_nextn_predict_layers: 100 }, 'num_nextn_predict_layers'],
  ['a factor of 0', { moe_router_scaling_factor: 0 }, 'moe_router_scaling_factor'],
  ['two contexts', { max_position_embeddings: 5 }, 'max_position_embeddings'],
];

describe('hostile Step-3.5-Flash configurations', () => {
  it.each(HOSTILE.map(([name, changes, ...mentions]) => ({ name, changes, mentions })))(
    '$name',
    ({ changes, mentions }) =>
      expectError(() => parseConfig(json(changes), 'config.json'), ConfigError, ['config.json', ...mentions]),
  );
});
