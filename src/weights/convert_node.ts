/** Converts a checkpoint to another format, a bounded piece in memory at a time. Node only: import it dynamically. */
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { configToJson } from '../config/index.ts';
import { InputError, show, WeightError } from '../errors.ts';
import { encodeWeights, isPlain, type WeightFormat } from '../tensor.ts';
import type { Checkpoint } from './checkpoint.ts';
import { type ConvertTarget, isGgufTarget, quantizationJson, targetFormat } from './convert_plan.ts';
import { convertedTensors, type WriteUnit } from './convert_tensors.ts';
import { encodeGgml } from './encode/ggml.ts';
import { floatBands } from './floats.ts';
import { checkSpace, SHARD_BYTES, writeJson, writeShards } from './folder_node.ts';
import { configMetadata, ropeDivisors, tokenIdMetadata, tokenizerMetadata } from './gguf_export.ts';
import { ggufName, ROPE_FREQS } from './gguf_names.ts';
import { ggufBytes } from './gguf_writer.ts';
import { parseStrictJson } from './json.ts';
import { expectedTensors, type TensorSpec } from './names.ts';
import { type FileSource, readText } from './source.ts';
import type { CheckpointWeight } from './tensor_data.ts';
import { type GgufTensorToWrite, writeGguf, writeWhole } from './writer_node.ts';

/** How {@link convertCheckpoint} converts. */
export interface ConvertOptions {
  /** Called with weights converted so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
  /** As for writeCheckpoint. */
  readonly shardBytes?: number;
}

/** What was written. */
export interface Converted {
  readonly path: string;
  /** Bytes of the weights before and after. */
  readonly sourceBytes: number;
  readonly bytes: number;
  /** Weights per format of the result. */
  readonly formats: Readonly<Record<string, number>>;
}

/** Text files that go along into a folder. */
const TEXT_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  'generation_config.json',
];

/** `general.file_type` numbers of GGUF files. */
const FILE_TYPES = { q8_0: 7, q4_0: 2, q4_k: 14 } as const;

/** Beyond this a weight's block scale could exceed 16 bits. */
const MAX_WEIGHT = 65504;

/** 4-bit scales, an eighth of a shard, are kept until all integers of the shard are written. */
const INT4_SHARD_BYTES = 2 ** 30;

/** One weight, and what becomes of it. */
interface Item {
  readonly spec: TensorSpec;
  readonly weight: CheckpointWeight;
  readonly format: WeightFormat;
}

/**
 * Writes `checkpoint` in another format: a folder of safetensors for bf16, fp8 and int4, a GGUF file for the others.
 * Nothing appears under `path` before it is complete.
 *
 * @param texts where the checkpoint's tokenizer and chat template are
 * @throws InputError when there is something at `path`; WeightError for weights that are quantised already, not finite or
 *   too large; ConfigError for what GGUF cannot say; file-system errors pass through
 */
export async function convertCheckpoint(
  checkpoint: Checkpoint,
  texts: FileSource,
  target: ConvertTarget,
  path: string,
  options: ConvertOptions = {},
): Promise<Converted> {
  await refuseExisting(path, isGgufTarget(target));
  const items = plan(checkpoint, target);
  const total = items.length;
  let done = 0;
  const count = () => options.onProgress?.(++done, total);
  const bytes = isGgufTarget(target)
    ? await writeGgufFile(checkpoint, texts, target, items, path, count)
    : await writeFolder(
        checkpoint,
        texts,
        target,
        items,
        path,
        options.shardBytes ?? (target === 'int4' ? INT4_SHARD_BYTES : SHARD_BYTES),
        count,
      );
  const formats: Record<string, number> = {};
  for (const { format } of items) formats[format] = (formats[format] ?? 0) + 1;
  return { path, sourceBytes: checkpoint.bytes, bytes, formats };
}

function plan(checkpoint: Checkpoint, target: ConvertTarget): Item[] {
  return expectedTensors(checkpoint.config).map((spec) => {
    const weight = checkpoint.weights.get(spec.name);
    if (weight === undefined) throw new WeightError(checkpoint.name, spec.name, 'this weight', 'none');
    if (!isPlain(weight.format)) {
      throw new WeightError(
        weight.file,
        spec.name,
        'f32, f16 or bf16 (convert the original checkpoint)',
        weight.format,
      );
    }
    return { spec, weight, format: targetFormat(checkpoint.config, target, spec) };
  });
}

async function refuseExisting(path: string, file: boolean): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return;
  const empty = !file && found.isDirectory() && (await readdir(path)).length === 0;
  if (!empty)
    throw new InputError('output', `a new ${file ? 'file' : 'folder'}`, `${path}, which is there already`);
}

async function writeFolder(
  checkpoint: Checkpoint,
  texts: FileSource,
  target: ConvertTarget,
  items: readonly Item[],
  path: string,
  shardBytes: number,
  count: () => void,
): Promise<number> {
  const units = items.map(({ weight, format }) => counted(convertedTensors(weight, format), count));
  const bytes = units.reduce((sum, unit) => sum + unit.bytes, 0);
  const temporary = `${path}.${process.pid}.partial`;
  await mkdir(temporary, { recursive: true });
  try {
    await checkSpace(bytes, temporary);
    await writeShards(temporary, units, shardBytes);
    for (const file of TEXT_FILES) {
      const text = await readText(texts, file);
      if (text !== undefined)
        await writeWhole(join(temporary, file), async (handle) => handle.writeFile(text));
    }
    const kept = items.flatMap(({ spec, format }) =>
      spec.kind === 'matrix' && isPlain(format) ? [spec.name.replace(/\.weight$/, '')] : [],
    );
    const quantization = quantizationJson(target, kept);
    const json = { ...configToJson({ ...checkpoint.config, torch_dtype: 'bf16' }) };
    if (quantization !== undefined) json.quantization_config = quantization;
    await writeJson(join(temporary, 'config.json'), json);
    // An empty folder may be there.
    await rmdir(path).catch(() => undefined);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  return bytes;
}

/** Calls `count` when the last of a unit's tensors has been written. */
function counted(unit: WriteUnit, count: () => void): WriteUnit {
  let left = unit.tensors.length;
  const tensors = unit.tensors.map((tensor) => ({
    ...tensor,
    pieces: async function* () {
      yield* tensor.pieces();
      if (--left === 0) count();
    },
  }));
  return { ...unit, tensors };
}

async function writeGgufFile(
  checkpoint: Checkpoint,
  texts: FileSource,
  target: keyof typeof FILE_TYPES,
  items: readonly Item[],
  path: string,
  count: () => void,
): Promise<number> {
  const { config } = checkpoint;
  const json = configToJson(config);
  const metadata = configMetadata(json);
  metadata.set('general.name', { type: 'string', value: basename(path, '.gguf') });
  metadata.set('general.file_type', { type: 'uint32', value: FILE_TYPES[target] });
  const ids = tokenIdMetadata(config.bos_token_id, config.eos_token_ids);
  for (const [key, value] of [...ids, ...(await readTokenizer(checkpoint, texts))]) metadata.set(key, value);
  const tensors = items.map((item) => ggufTensor(item, config.architecture, count));
  const divisors = ropeDivisors(json);
  if (divisors !== undefined) {
    const pieces = () => [new Uint8Array(divisors.buffer)];
    tensors.push({ name: ROPE_FREQS, format: 'f32', shape: [divisors.length], pieces });
  }
  const bytes = tensors.reduce((sum, tensor) => sum + ggufBytes(tensor), 0);
  await checkSpace(bytes, dirname(path));
  await writeGguf(path, metadata, tensors);
  return bytes;
}

async function readTokenizer(checkpoint: Checkpoint, texts: FileSource) {
  const tokenizer = await readJson(texts, 'tokenizer.json');
  if (tokenizer === undefined) return [];
  const config = (await readJson(texts, 'tokenizer_config.json')) ?? {};
  const template = await readText(texts, 'chat_template.jinja');
  const { bos_token_id: bos, vocab_size } = checkpoint.config;
  const all = template === undefined ? config : { ...config, chat_template: template };
  return tokenizerMetadata(tokenizer, all, vocab_size, bos !== undefined);
}

async function readJson(texts: FileSource, file: string): Promise<Record<string, unknown> | undefined> {
  const text = await readText(texts, file);
  if (text === undefined) return undefined;
  const json = parseStrictJson(text, (expected, found) => {
    throw new WeightError(file, undefined, expected, found);
  });
  if (typeof json === 'object' && json !== null) return json as Record<string, unknown>;
  throw new WeightError(file, undefined, 'a JSON object', show(json));
}

function ggufTensor(
  { spec, weight, format }: Item,
  arch: 'step3' | 'step35',
  count: () => void,
): GgufTensorToWrite {
  const name = ggufName(arch, spec.name);
  if (name === undefined)
    throw new WeightError(weight.file, spec.name, 'a tensor that GGUF has a name for', 'another');
  // Centred norms are stored less 1; GGUF has them whole.
  const plus = String(spec.kind) === 'centred norm' ? 1 : 0;
  const pieces = async function* () {
    for await (const { values } of floatBands(weight)) {
      if (plus !== 0) for (let i = 0; i < values.length; i++) values[i] += plus;
      yield isPlain(format) ? encodeWeights(format, values) : encodeBlocks(weight, format, values);
    }
    count();
  };
  return { name, format, shape: weight.shape, pieces };
}

function encodeBlocks(weight: CheckpointWeight, format: WeightFormat, values: Float32Array): Uint8Array {
  const large = values.find((value) => Math.abs(value) > MAX_WEIGHT);
  if (large !== undefined)
    throw new WeightError(weight.file, weight.name, `weights up to ${MAX_WEIGHT}`, String(large));
  if (format === 'q8_0' || format === 'q4_0' || format === 'q4_k') return encodeGgml(format, values);
  throw new WeightError(weight.file, weight.name, 'q8_0, q4_0 or q4_k', format);
}
