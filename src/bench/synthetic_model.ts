/** A model of any configuration without a checkpoint: weights are a pattern that the device repeats. */
import type { ModelConfig } from '../config/index.ts';
import { InputError } from '../errors.ts';
import { type RowFormat, rowBytes } from '../formats/index.ts';
import { randomRows } from '../formats/random.ts';
import type { KvFormat } from '../kernels/paged.ts';
import { encodeValues, seededRandom } from '../kernels/verify.ts';
import { cacheShape } from '../model/cache.ts';
import { planDecode } from '../model/plans.ts';
import type { Gpu } from '../runtime/device.ts';
import { GpuExecutor } from '../runtime/gpu_executor.ts';
import { loadFrequencies } from '../runtime/load.ts';
import { Model } from '../runtime/model.ts';
import { promptChunk } from '../runtime/prefill.ts';
import { type SelfTestStore, selfTest, selfTestPrompts, selfTestTokens } from '../runtime/selftest.ts';
import { isPlain, padRow } from '../tensor.ts';
import { type ConvertTarget, targetFormats } from '../weights/convert_plan.ts';
import { type FormatOf, shardName, weightLayout } from '../weights/layout.ts';

/** Size of a synthetic model's cache, and what is told of its making. */
export interface SyntheticOptions {
  readonly maxContext: number;
  readonly maxBatch: number;
  readonly kv: KvFormat;
  /** Prompt tokens per step, for which rings of the cache have room: as loading takes when absent, 1 for decoding alone. */
  readonly chunk?: number | undefined;
  /** Weights as they are after a conversion to this. Default: those of the configuration. */
  readonly format?: ConvertTarget | undefined;
  readonly selfTestStore?: SelfTestStore | undefined;
  /** Called with the number of matrices filled so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Most bytes of the rows that a matrix repeats: all rows of any router, or experts would be chosen together. */
const UNIT_BYTES = 4 * 1024 * 1024;

/**
 * The first `layers` layers of a configuration.
 *
 * @throws InputError when there are fewer.
 */
export function cutLayers(config: ModelConfig, layers: number): ModelConfig {
  const all = config.num_hidden_layers;
  if (!Number.isInteger(layers) || layers < 1 || layers > all) {
    throw new InputError('layers', `an integer in 1..${all}`, layers);
  }
  const cut = { num_hidden_layers: layers, moe_layers: config.moe_layers.filter((layer) => layer < layers) };
  if (config.architecture === 'step3') return { ...config, ...cut };
  // Facts of prediction blocks would stand at the wrong places of the lists.
  return {
    ...config,
    ...cut,
    num_nextn_predict_layers: layers === all ? config.num_nextn_predict_layers : 0,
  };
}

/**
 * Allocates and fills a model on `gpu`, which belongs to the model from then on, and checks its kernels.
 *
 * @throws InputError when the context exceeds the model's; DeviceError when memory does not suffice; KernelError when a
 *   kernel fails its self-test. The device is closed after an error.
 */
export async function syntheticModel(
  gpu: Gpu,
  config: ModelConfig,
  options: SyntheticOptions,
): Promise<Model> {
  const executor = new GpuExecutor(gpu);
  try {
    const { maxContext, maxBatch, kv } = options;
    const chunk = options.chunk ?? promptChunk(config, executor.caps.matrixUnits, options);
    if (maxContext > config.max_seq_len) {
      throw new InputError('context', `at most ${config.max_seq_len} positions with all steps`, maxContext);
    }
    const layout = weightLayout(config, formatsOf(config, options.format), executor.caps.maxBindingBytes);
    const cache = cacheShape(config, 0, { sequences: maxBatch, maxContext, kv, together: chunk });
    const planning = { layout, cache, caps: executor.caps, deterministic: false };
    const model = new Model({ config, tokenizer: undefined, executor, planning, chunk });
    const units = new Map<string, Uint8Array<ArrayBuffer>>();
    let done = 0;
    for (const matrix of layout.matrices.values()) {
      for (const [i, shard] of matrix.shards.entries()) {
        const key = `${shard.format} ${matrix.cols}`;
        const unit = units.get(key) ?? weightUnit(shard, matrix.cols);
        units.set(key, unit);
        const size = rowBytes(shard, matrix.cols);
        const name = shardName(matrix.name, i);
        const bytes = shard.expertCount * shard.rowCount * size;
        executor.ensure([{ name, type: shard.format, bytes, purpose: 'weights' }]);
        // No two matrices begin with the same row, so that layers differ.
        executor.fill(name, rotated(unit, (done * 7919 * size) % unit.length));
      }
      await executor.idle();
      options.onProgress?.(++done, layout.matrices.size);
    }
    for (const { name, length } of layout.vectors.values()) {
      const ones = new Float32Array(padRow(length)).fill(1, 0, length);
      executor.ensure([{ name, type: 'f32', bytes: ones.byteLength, purpose: 'weights' }]);
      executor.fill(name, new Uint8Array(ones.buffer));
    }
    const { plan } = await model.decodePlan(1, 1);
    loadFrequencies(executor, config);
    const batches = selfTestTokens(planning.caps.matrixUnits, maxBatch);
    const steps = batches.map((batch) => planDecode(config, planning, batch, 1));
    const chunks = selfTestPrompts(config, planning, chunk);
    await selfTest(executor, [plan, ...steps, ...chunks], options.selfTestStore);
    await executor.idle();
    return model;
  } catch (error) {
    executor.dispose();
    throw error;
  }
}

/** Formats of the weights of a configuration: its own, or those after a conversion. */
export function formatsOf(config: ModelConfig, target: ConvertTarget | undefined): FormatOf {
  if (target !== undefined) return targetFormats(config, target);
  const format: RowFormat = { format: config.torch_dtype ?? 'bf16' };
  return () => format;
}

/** Rows that keep the variance of what they are multiplied with; padding is zero. */
function weightUnit(row: RowFormat, cols: number): Uint8Array<ArrayBuffer> {
  const stored = padRow(cols);
  const rows = Math.max(1, Math.floor(UNIT_BYTES / rowBytes(row, cols)));
  const random = seededRandom(cols);
  const amplitude = Math.sqrt(3 / cols);
  const { format } = row;
  if (!isPlain(format)) return randomRows(row, cols, rows, amplitude, random);
  const values = Float64Array.from({ length: rows * stored }, (_, i) =>
    i % stored < cols ? (random() * 2 - 1) * amplitude : 0,
  );
  return encodeValues(format, values);
}

function rotated(unit: Uint8Array<ArrayBuffer>, at: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(unit.length);
  out.set(unit.subarray(at));
  out.set(unit.subarray(0, at), unit.length - at);
  return out;
}
