/** `quantization_config`: what is read, and what is refused. */
import { describe, expect, it } from 'vitest';
import { parseQuantization } from '../../src/config/index.ts';
import { ConfigError } from '../../src/errors.ts';
import { expectError } from '../weights/support.ts';

const FP8 = { quant_method: 'fp8', fmt: 'e4m3', activation_scheme: 'dynamic', weight_block_size: [128, 128] };
const WEIGHTS = {
  num_bits: 4,
  type: 'int',
  symmetric: true,
  group_size: 32,
  strategy: 'group',
  dynamic: false,
};
const GROUP = { targets: ['Linear'], weights: WEIGHTS, input_activations: null, output_activations: null };
const PACKED = {
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  config_groups: { group_0: GROUP },
  ignore: ['lm_head'],
};
const AWQ = { quant_method: 'awq', bits: 4, group_size: 128, zero_point: true, version: 'gemm' };

const parse = (quantization_config: unknown) => parseQuantization({ quantization_config }, 'config.json');

describe('parseQuantization', () => {
  it('reads FP8 with block scales, also in a text_config', () => {
    const expected = { method: 'fp8', block: [128, 128], ignore: ['lm_head'] };
    const json = { ...FP8, modules_to_not_convert: ['lm_head'] };
    expect(parse(json)).toEqual(expected);
    expect(parseQuantization({ text_config: { quantization_config: json } })).toEqual(expected);
    expect(parse(undefined)).toBeUndefined();
    expect(parse(null)).toBeUndefined();
  });

  it('reads 4 bits of compressed-tensors and AutoAWQ', () => {
    expect(parse(PACKED)).toEqual({
      method: 'pack-quantized',
      groupSize: 32,
      symmetric: true,
      ignore: ['lm_head'],
    });
    const asymmetric = { ...GROUP, weights: { ...WEIGHTS, symmetric: false, group_size: 128 } };
    expect(parse({ ...PACKED, config_groups: { any: asymmetric } })).toMatchObject({
      groupSize: 128,
      symmetric: false,
    });
    expect(parse({ ...PACKED, transform_config: {} })).toMatchObject({ groupSize: 32 });
    expect(parse(AWQ)).toEqual({ method: 'awq', groupSize: 128, symmetric: false, ignore: [] });
    expect(parse({ ...AWQ, version: 'GEMM', zero_point: false })).toMatchObject({ symmetric: true });
  });
});

const weights = (change: object) => ({
  ...PACKED,
  config_groups: { group_0: { ...GROUP, weights: { ...WEIGHTS, ...change } } },
});

const HOSTILE: readonly (readonly [string, unknown, ...string[]])[] = [
  ['a list', [], 'object'],
  ['a text', 'fp8', 'object'],
  ['no method', {}, 'quant_method', 'fp8, compressed-tensors, awq'],
  ['another method', { quant_method: 'gptq', bits: 4 }, 'quant_method', 'gptq'],
  ['a method from the prototype', { quant_method: 'constructor' }, 'quant_method'],
  ['e5m2', { ...FP8, fmt: 'e5m2' }, 'fmt', 'e5m2'],
  ['ue8m0 scales', { ...FP8, scale_fmt: 'ue8m0' }, 'scale_fmt'],
  ['FP8 per tensor', { ...FP8, weight_block_size: undefined }, 'weight_block_size', '[128,128]'],
  ['blocks of 64', { ...FP8, weight_block_size: [64, 64] }, 'weight_block_size'],
  ['blocks of NaN', { ...FP8, weight_block_size: [128, Number.NaN] }, 'weight_block_size'],
  ['static activations', { ...FP8, activation_scheme: 'static' }, 'activation_scheme', 'static'],
  ['a list of numbers', { ...FP8, modules_to_not_convert: [1] }, 'modules_to_not_convert'],
  ['another packing', { ...PACKED, format: 'float-quantized' }, 'format', 'float-quantized'],
  ['no groups', { ...PACKED, config_groups: {} }, 'config_groups', 'one group'],
  ['two groups', { ...PACKED, config_groups: { a: GROUP, b: GROUP } }, 'config_groups'],
  ['groups that are a list', { ...PACKED, config_groups: [GROUP] }, 'config_groups'],
  ['other targets', { ...PACKED, config_groups: { a: { ...GROUP, targets: ['re:.*q_proj'] } } }, 'targets'],
  [
    'quantised activations',
    { ...PACKED, config_groups: { a: { ...GROUP, input_activations: {} } } },
    'input_activations',
  ],
  ['a quantised cache', { ...PACKED, kv_cache_scheme: {} }, 'kv_cache_scheme'],
  ['rotated activations', { ...PACKED, transform_config: { config_groups: { a: {} } } }, 'transform_config'],
  ['8 bits', weights({ num_bits: 8 }), 'num_bits', '4', 'got 8'],
  ['floats', weights({ type: 'float' }), 'type', 'float'],
  ['a scale per row', weights({ strategy: 'channel', group_size: null }), 'strategy', 'channel'],
  ['groups of 48', weights({ group_size: 48 }), 'group_size', '32, 64, 128', '48'],
  ['groups of -1', weights({ group_size: -1 }), 'group_size', '-1'],
  ['sorted columns', weights({ actorder: 'group' }), 'actorder'],
  ['AWQ in 8 bits', { ...AWQ, bits: 8 }, 'bits', '8'],
  ['AWQ for vectors', { ...AWQ, version: 'gemv' }, 'version', 'gemv'],
  ['AWQ with a flag that is a number', { ...AWQ, zero_point: 1 }, 'zero_point'],
];

describe('hostile quantization_config', () => {
  it.each(HOSTILE.map(([name, json, ...mentions]) => ({ name, json, mentions })))(
    '$name',
    ({ json, mentions }) =>
      expectError(() => parse(json), ConfigError, ['config.json', 'quantization_config', ...mentions]),
  );

  it('two of them, or an older name', async () => {
    const both = { quantization_config: FP8, text_config: { quantization_config: FP8 } };
    await expectError(() => parseQuantization(both, 'config.json'), ConfigError, [
      'text_config.quantization_config',
    ]);
    await expectError(() => parseQuantization({ compression_config: {} }, 'f'), ConfigError, [
      'compression_config',
    ]);
  });
});
