/** Which format each weight of a model gets when it is converted. */
import type { ModelConfig } from '../config/index.ts';
import { WeightError } from '../errors.ts';
import type { RowFormat } from '../formats/index.ts';
import type { WeightFormat } from '../tensor.ts';
import { FP8_BLOCK } from './encode/fp8.ts';
import { INT4_GROUP } from './encode/int4.ts';
import { ggmlTypeOf } from './ggml_types.ts';
import type { FormatOf } from './layout.ts';
import { expectedTensors, type TensorSpec } from './names.ts';

/** What a model can be converted to. */
export const TARGETS = ['bf16', 'fp8', 'int4', 'q8_0', 'q4_0', 'q4_k'] as const;

/** One of {@link TARGETS}. */
export type ConvertTarget = (typeof TARGETS)[number];

/** Whether the result is one GGUF file; otherwise it is a folder of safetensors. */
export function isGgufTarget(target: ConvertTarget): target is 'q8_0' | 'q4_0' | 'q4_k' {
  return target === 'q8_0' || target === 'q4_0' || target === 'q4_k';
}

/** Linear layers too small or too sensitive to be worth it: gates of attention heads, projections of draft blocks. */
const KEPT = /\.(g_proj|eh_proj|shared_head\.output)\.weight$/;

/**
 * The format of one weight. Norms, routers and their biases are never quantised. FP8 is for the linear layers that the
 * published checkpoints have in FP8: all of Step-3's but the head, the routed experts of Step-3.5-Flash; int4 is for all
 * but the head and {@link KEPT}. In GGUF embedding and head take 8 bits. Rows that are not whole blocks or groups stay
 * in 16 bits (or, in GGUF, go from 4 to 8 bits first).
 */
export function targetFormat(config: ModelConfig, target: ConvertTarget, spec: TensorSpec): WeightFormat {
  const { name, kind, shape } = spec;
  const gguf = isGgufTarget(target);
  const vector = kind !== 'matrix' && kind !== 'embedding';
  if (name.endsWith('.router_bias')) return 'f32';
  if (vector || /\.moe\.gate\.weight$/.test(name)) return gguf ? 'f32' : 'bf16';
  const cols = shape[shape.length - 1];
  const outer = kind === 'embedding' || name === 'lm_head.weight';
  if (gguf) return widest(outer ? 'q8_0' : target, cols);
  if (target === 'bf16' || outer) return 'bf16';
  if (target === 'int4') return KEPT.test(name) || cols % INT4_GROUP !== 0 ? 'bf16' : 'int4';
  const routed = /\.moe\.(gate|up|down)_proj\.weight$/.test(name);
  return routed || config.architecture === 'step3' ? 'fp8' : 'bf16';
}

/** The formats of all weights of a model that is converted, as its layout asks for them. */
export function targetFormats(config: ModelConfig, target: ConvertTarget): FormatOf {
  const groups: Partial<Record<WeightFormat, number>> = { fp8: FP8_BLOCK, int4: INT4_GROUP };
  const rowOf = (spec: TensorSpec): RowFormat => {
    const format = targetFormat(config, target, spec);
    return { format, group: groups[format] };
  };
  const formats = new Map(expectedTensors(config).map((spec) => [spec.name, rowOf(spec)]));
  return (tensor) => {
    const found = formats.get(tensor);
    if (found === undefined) throw new WeightError('weights', tensor, 'a tensor of the model', 'nothing');
    return found;
  };
}

/** `format`, or the next one that fits rows of `cols`. */
function widest(format: 'q8_0' | 'q4_0' | 'q4_k', cols: number): WeightFormat {
  const fits =
    (ggmlTypeOf(format)?.elements ?? 1) <= cols && cols % (ggmlTypeOf(format)?.elements ?? 1) === 0;
  if (fits) return format;
  return format === 'q4_k' ? widest('q8_0', cols) : 'bf16';
}

/** `quantization_config` of the result; undefined when nothing in it is quantised. `kept` are the other linear modules. */
export function quantizationJson(target: ConvertTarget, kept: readonly string[]): object | undefined {
  if (target === 'fp8') {
    return {
      quant_method: 'fp8',
      fmt: 'e4m3',
      activation_scheme: 'dynamic',
      weight_block_size: [FP8_BLOCK, FP8_BLOCK],
      modules_to_not_convert: kept,
    };
  }
  if (target !== 'int4') return undefined;
  const weights = {
    num_bits: 4,
    type: 'int',
    symmetric: true,
    group_size: INT4_GROUP,
    strategy: 'group',
    dynamic: false,
    actorder: null,
    block_structure: null,
  };
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    kv_cache_scheme: null,
    config_groups: {
      group_0: { targets: ['Linear'], weights, input_activations: null, output_activations: null },
    },
    ignore: kept,
  };
}
