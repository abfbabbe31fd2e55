/** Converting whole checkpoints: what comes back is the model in the new format. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gguf as independentReader } from '@huggingface/gguf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { preset, type Step3Config } from '../../src/config/index.ts';
import { InputError, WeightError } from '../../src/errors.ts';
import { openModelSource } from '../../src/runtime/load_model.ts';
import { type Checkpoint, openCheckpoint } from '../../src/weights/checkpoint.ts';
import { convertCheckpoint } from '../../src/weights/convert_node.ts';
import { floatBands } from '../../src/weights/floats.ts';
import { memorySource } from '../../src/weights/source.ts';
import { directorySource } from '../../src/weights/source_node.ts';
import type { StoredRows } from '../../src/weights/stored.ts';
import { writeCheckpoint } from '../../src/weights/synth_node.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import type { CheckpointWeight } from '../../src/weights/tensor_data.ts';
import { decodeBlocks } from './ggml_decode.ts';

/** Rows of 256, 96 and 40: of whole Q4_K blocks, of whole groups of 32 only, and of neither. */
const CONFIG: Step3Config = {
  ...preset('step3-tiny'),
  hidden_size: 256,
  intermediate_size: 96,
  share_q_dim: 40,
  num_hidden_layers: 3,
  moe_layers: [1],
  moe_intermediate_size: 96,
  share_expert_dim: 160,
};

let folder: string;
let source: Checkpoint;
const NONE = memorySource('none', new Map());
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'step3-convert-'));
  await writeCheckpoint(syntheticCheckpoint(CONFIG, 3, 'f32'), at('source'));
  source = await openCheckpoint(directorySource(at('source')));
});

afterAll(async () => {
  await source.close();
  await rm(folder, { recursive: true });
});

const e4m3 = (byte: number) => {
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  return (
    (byte & 128 ? -1 : 1) * (exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7))
  );
};

/** One row of a stored weight as numbers. */
function decodeRow(weight: CheckpointWeight, { values, scales, zeros }: StoredRows): number[] {
  const { format, cols, groupCols = cols } = weight;
  if (format === 'q8_0' || format === 'q4_0' || format === 'q4_k') return decodeBlocks(format, values);
  return Array.from({ length: cols }, (_, c) => {
    const group = Math.floor(c / groupCols);
    if (format === 'fp8') return e4m3(values[c]) * scales![group];
    if (format === 'int4') return (((values[c >> 1] >> (4 * (c & 1))) & 15) - zeros![group]) * scales![group];
    if (format === 'f32') return new Float32Array(values.buffer)[c];
    return new Float32Array(Uint32Array.of((values[2 * c] | (values[2 * c + 1] << 8)) << 16).buffer)[0];
  });
}

/** Largest relative error of any weight of the model. */
async function compare(result: Checkpoint): Promise<Record<string, number>> {
  const worst: Record<string, number> = {};
  for (const [name, original] of source.weights) {
    const weight = result.weights.get(name)!;
    let [error, total] = [0, 0];
    for await (const { expert, begin, values } of floatBands(original)) {
      for (let r = 0; r < values.length / weight.cols; r++) {
        const row = decodeRow(weight, await weight.readRows(expert, begin + r, begin + r + 1));
        row.forEach((y, c) => {
          const x = values[r * weight.cols + c];
          error += (x - y) ** 2;
          total += x ** 2;
        });
      }
    }
    worst[weight.format] = Math.max(worst[weight.format] ?? 0, Math.sqrt(error / total));
  }
  return worst;
}

const LIMITS: Record<string, number> = {
  f32: 0,
  bf16: 0.003,
  fp8: 0.04,
  int4: 0.09,
  q8_0: 0.007,
  q4_0: 0.09,
  q4_k: 0.08,
};

async function convert(
  target: 'bf16' | 'fp8' | 'int4' | 'q8_0' | 'q4_0' | 'q4_k',
  name: string,
  options = {},
) {
  const texts = directorySource(at('source'));
  return convertCheckpoint(source, texts, target, at(name), options);
}

async function check(result: Checkpoint, formats: readonly string[]): Promise<void> {
  expect({ ...result.config, torch_dtype: undefined }).toEqual({ ...source.config, torch_dtype: undefined });
  const errors = await compare(result);
  expect(Object.keys(errors).sort()).toEqual([...formats].sort());
  for (const [format, error] of Object.entries(errors)) expect(error).toBeLessThanOrEqual(LIMITS[format]);
}

describe('convertCheckpoint', () => {
  it('to bf16, in shards', async () => {
    const progress: number[] = [];
    const done = await convert('bf16', 'bf16', {
      shardBytes: 200_000,
      onProgress: (n: number) => progress.push(n),
    });
    const result = await openCheckpoint(directorySource(at('bf16')));
    await check(result, ['bf16']);
    expect(result.bytes).toBe(done.bytes);
    expect(progress).toEqual(Array.from(source.weights, (_, i) => i + 1));
    expect(done).toMatchObject({ sourceBytes: source.bytes, formats: { bf16: source.weights.size } });
    expect(await readdir(at('bf16'))).toContain('tokenizer.json');
    await result.close();
  });

  it('to fp8, with the head, the embedding, norms and routers in bf16', async () => {
    await convert('fp8', 'fp8');
    const { checkpoint, tokenizer } = await openModelSource(at('fp8'));
    await check(checkpoint, ['bf16', 'fp8']);
    expect(tokenizer?.encode('hi')).toEqual([104, 105]);
    for (const [name, { format }] of checkpoint.weights) {
      expect(format).toBe(/norm|embed|lm_head|moe\.gate\./.test(name) ? 'bf16' : 'fp8');
    }
    const { quantization_config } = JSON.parse(await readFile(join(at('fp8'), 'config.json'), 'utf8'));
    expect(quantization_config).toMatchObject({
      quant_method: 'fp8',
      fmt: 'e4m3',
      weight_block_size: [128, 128],
      modules_to_not_convert: ['model.layers.1.moe.gate', 'lm_head'],
    });
    await checkpoint.close();
  });

  it('to int4, rows that are not whole groups in bf16', async () => {
    const done = await convert('int4', 'int4');
    const result = await openCheckpoint(directorySource(at('int4')));
    await check(result, ['bf16', 'int4']);
    expect(result.bytes).toBe(done.bytes);
    expect(result.weight('model.layers.0.self_attn.wq.weight')?.format).toBe('bf16');
    expect(result.weight('model.layers.1.moe.up_proj.weight')).toMatchObject({ format: 'int4', experts: 8 });
    const { quantization_config } = JSON.parse(await readFile(join(at('int4'), 'config.json'), 'utf8'));
    expect(quantization_config.ignore).toContain('model.layers.0.self_attn.wq');
    await result.close();
  });

  it.each([
    ['q8_0', ['bf16', 'f32', 'q8_0']],
    ['q4_0', ['bf16', 'f32', 'q4_0', 'q8_0']],
    ['q4_k', ['bf16', 'f32', 'q4_k', 'q8_0']],
  ] as const)('to %s, with the tokenizer in the file', async (target, formats) => {
    const done = await convert(target, `${target}.gguf`);
    const { checkpoint, tokenizer } = await openModelSource(at(`${target}.gguf`));
    await check(checkpoint, formats);
    expect(checkpoint.bytes).toBe(done.bytes);
    expect(tokenizer?.encode('héllo')).toEqual([104, 195, 169, 108, 108, 111]);
    for (const [name, { format }] of checkpoint.weights) {
      if (/norm|moe\.gate\./.test(name)) expect(format).toBe('f32');
      if (/embed|lm_head/.test(name)) expect(format).toBe('q8_0');
    }
    await checkpoint.close();
    const other = await independentReader(at(`${target}.gguf`), { allowLocalFile: true });
    expect(other.metadata).toMatchObject({ 'general.architecture': 'step3', 'step3.block_count': 3 });
    expect(other.tensorInfos).toHaveLength(checkpoint.weights.size);
  });

  it('leaves nothing behind when it fails, and replaces nothing', async () => {
    const before = await readdir(folder);
    const broken = new Map(source.weights);
    const name = 'model.layers.2.mlp.down_proj.weight';
    broken.set(name, {
      ...broken.get(name)!,
      readRows: () => Promise.reject(new WeightError('f', name, 'a disk', 'none')),
    });
    const checkpoint = { ...source, weights: broken };
    for (const target of ['fp8', 'q8_0'] as const) {
      await expect(convertCheckpoint(checkpoint, NONE, target, at('broken'))).rejects.toThrow(/a disk/);
    }
    expect(await readdir(folder)).toEqual(before);
    await writeFile(at('there'), '');
    await expect(convertCheckpoint(source, NONE, 'q8_0', at('there'))).rejects.toThrow(InputError);
    await expect(convertCheckpoint(source, NONE, 'fp8', at('source'))).rejects.toThrow(/there already/);
  });

  it('refuses weights that are quantised already', async () => {
    await convertCheckpoint(source, NONE, 'fp8', at('again'));
    const fp8 = await openCheckpoint(directorySource(at('again')));
    await expect(convertCheckpoint(fp8, NONE, 'int4', at('twice'))).rejects.toThrow(/f32, f16 or bf16.*fp8/);
    await fp8.close();
  });
});
