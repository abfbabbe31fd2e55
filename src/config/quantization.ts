/** `quantization_config` of a `config.json`: how a checkpoint's linear layers are quantised. */
import { Fields } from './fields.ts';

/** Blocks of 128 × 128 e4m3 weights with one `weight_scale_inv` each (`quant_method` fp8). */
export interface Fp8Quantization {
  readonly method: 'fp8';
  /** Rows and columns that share a scale. */
  readonly block: readonly [number, number];
  /** Modules that stay in 16 bits, as the file names them; patterns (`re:…`) are not interpreted. */
  readonly ignore: readonly string[];
}

/** 4-bit integers with a scale per row and group of columns, in the layout of compressed-tensors or of AutoAWQ. */
export interface Int4Quantization {
  readonly method: 'pack-quantized' | 'awq';
  /** Columns that share a scale. */
  readonly groupSize: number;
  /** Whether all zero points are 8, and the file has none. */
  readonly symmetric: boolean;
  /** As {@link Fp8Quantization.ignore}. */
  readonly ignore: readonly string[];
}

/** How a checkpoint is quantised. Which tensors are, the tensors themselves say. */
export type Quantization = Fp8Quantization | Int4Quantization;

const METHODS = ['fp8', 'compressed-tensors', 'awq'];
const GROUP_SIZES = [32, 64, 128];
const MAX_IGNORED = 2 ** 17;

/**
 * The quantisation that a parsed `config.json` describes, at its top level or in its `text_config`; undefined when there
 * is none.
 *
 * @throws ConfigError for a method, number format, block or group size that is not supported.
 */
export function parseQuantization(json: unknown, file?: string): Quantization | undefined {
  const document = new Fields(json, file);
  document.mustBe('compression_config', null);
  const nested = document.has('text_config') ? document.object('text_config') : undefined;
  if (nested?.has('quantization_config') === true) {
    if (document.has('quantization_config'))
      nested.fail('quantization_config', 'nothing, as the document has one');
    return parseMethod(nested.object('quantization_config'));
  }
  return document.has('quantization_config')
    ? parseMethod(document.object('quantization_config'))
    : undefined;
}

function parseMethod(fields: Fields): Quantization {
  switch (fields.get('quant_method')) {
    case 'fp8':
      return parseFp8(fields);
    case 'compressed-tensors':
      return parseCompressed(fields);
    case 'awq':
      return parseAwq(fields);
    default:
      return fields.fail('quant_method', `one of ${METHODS.join(', ')}`);
  }
}

function parseFp8(fields: Fields): Fp8Quantization {
  fields.mustBe('fmt', 'e4m3');
  fields.mustBe('scale_fmt', null);
  const scheme = fields.get('activation_scheme');
  if (fields.has('activation_scheme') && scheme !== 'dynamic') {
    fields.fail('activation_scheme', '"dynamic" (activations are not quantised here)');
  }
  const block = fields.get('weight_block_size');
  if (!Array.isArray(block) || block.length !== 2 || block.some((size) => size !== 128)) {
    fields.fail('weight_block_size', '[128,128]');
  }
  return {
    method: 'fp8',
    block: [128, 128],
    ignore: readNames(fields, ['modules_to_not_convert', 'ignored_layers']),
  };
}

/** Exactly one group of settings for all linear layers: weights only, 4 bits, groups along the columns. */
function parseCompressed(fields: Fields): Int4Quantization {
  if (fields.get('format') !== 'pack-quantized') fields.fail('format', '"pack-quantized"');
  fields.mustBe('kv_cache_scheme', null);
  fields.mustBe('quantization_status', 'compressed');
  refuseTransforms(fields);
  const groups = fields.object('config_groups');
  const names = Object.keys(fields.get('config_groups') as object);
  if (names.length !== 1) fields.fail('config_groups', 'one group', names);
  const group = groups.object(names[0]);
  group.mustBe('format', 'pack-quantized');
  group.mustBe('input_activations', null);
  group.mustBe('output_activations', null);
  const targets = group.get('targets');
  if (!Array.isArray(targets) || targets.length !== 1 || targets[0] !== 'Linear') {
    group.fail('targets', '["Linear"]');
  }
  const weights = group.object('weights');
  required(weights, 'num_bits', 4);
  required(weights, 'type', 'int');
  required(weights, 'strategy', 'group');
  weights.mustBe('dynamic', false);
  weights.mustBe('actorder', null);
  weights.mustBe('block_structure', null);
  return {
    method: 'pack-quantized',
    groupSize: readGroupSize(weights),
    symmetric: weights.boolean('symmetric', true),
    ignore: readNames(fields, ['ignore']),
  };
}

/** Rotations of activations would have to be computed too; newer files say that there are none by an empty object. */
function refuseTransforms(fields: Fields): void {
  if (!fields.has('transform_config')) return;
  const transforms: unknown = fields.object('transform_config').get('config_groups') ?? {};
  if (typeof transforms !== 'object' || Object.keys(transforms as object).length > 0) {
    fields.fail('transform_config', 'no transforms (they are not supported)');
  }
}

function parseAwq(fields: Fields): Int4Quantization {
  required(fields, 'bits', 4);
  const version = fields.get('version');
  if (fields.has('version') && String(version).toLowerCase() !== 'gemm') fields.fail('version', '"gemm"');
  return {
    method: 'awq',
    groupSize: readGroupSize(fields),
    symmetric: !fields.boolean('zero_point', true),
    ignore: readNames(fields, ['modules_to_not_convert']),
  };
}

function required(fields: Fields, name: string, value: string | number): void {
  if (fields.get(name) !== value) fields.fail(name, `${JSON.stringify(value)} (nothing else is supported)`);
}

function readGroupSize(fields: Fields): number {
  const size = fields.get('group_size');
  if (typeof size === 'number' && GROUP_SIZES.includes(size)) return size;
  return fields.fail('group_size', `one of ${GROUP_SIZES.join(', ')}`);
}

function readNames(fields: Fields, names: readonly string[]): string[] {
  return names.flatMap((name) => {
    if (!fields.has(name)) return [];
    const list = fields.get(name);
    if (!Array.isArray(list) || list.length > MAX_IGNORED || list.some((item) => typeof item !== 'string')) {
      return fields.fail(name, 'a list of module names');
    }
    return list as string[];
  });
}
