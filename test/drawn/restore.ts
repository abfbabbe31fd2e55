/**
 * Reference checkpoints whose weights were drawn at random are kept as the exclusive or of the published file and of what
 * can be made of the seed: zeros but for headers, scales, what was drawn in another way, and some odd last bits.
 */
import { createHash } from 'node:crypto';
import type { ModelConfig } from '../../src/config/index.ts';
import { elements, encodeWeights } from '../../src/tensor.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { readGguf } from '../../src/weights/gguf.ts';
import { ggufName } from '../../src/weights/gguf_names.ts';
import { expectedTensors } from '../../src/weights/names.ts';
import { readHeader, type TensorInfo } from '../../src/weights/safetensors.ts';
import { type FileSource, memoryFile } from '../../src/weights/source.ts';
import { toFp8, toInt4, toInt4Scales, toKQuants, toQ80 } from './quantise.ts';
import { type Drawing, drawWeights } from './weights.ts';

/** `drawn.json` beside a checkpoint: which of its files is kept so, how it was drawn, and the digest of the file. */
export interface DrawnFile extends Drawing {
  readonly file: string;
  readonly sha256: string;
}

/** The published file, of a folder whose `file` opens as what is kept of it. */
export async function restore(source: FileSource, drawn: DrawnFile): Promise<Uint8Array> {
  const bytes = await exchange(source, drawn.file, drawn);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== drawn.sha256) {
    throw new Error(`${source.name}: ${drawn.file} is not restored: ${sha256}, not ${drawn.sha256}`);
  }
  return bytes;
}

/** Turns the published `file` of `source` into what is kept of it, and back. */
export async function exchange(source: FileSource, file: string, drawing: Drawing): Promise<Uint8Array> {
  const opened = (await source.open(file))!;
  const bytes = await opened.read(0, opened.size);
  await opened.close();
  const checkpoint = await openCheckpoint(source);
  const { config } = checkpoint;
  await checkpoint.close();
  const weights = drawWeights(config, drawing);
  const made = file.endsWith('.gguf')
    ? await makeGguf(config, weights, file, bytes)
    : await makeSafetensors(weights, file, bytes);
  for (let i = 0; i < bytes.length; i++) bytes[i] ^= made[i];
  return bytes;
}

async function makeGguf(
  config: ModelConfig,
  weights: ReadonlyMap<string, Float32Array>,
  file: string,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const made = new Uint8Array(bytes.length);
  const specs = new Map(expectedTensors(config).map((spec) => [ggufName('step35', spec.name), spec]));
  for (const { name, type, begin, bytes: length } of (await readGguf(memoryFile(file, bytes))).tensors) {
    const spec = specs.get(name);
    const x = weights.get(spec?.name ?? '');
    if (x === undefined) continue;
    const out = made.subarray(begin, begin + length);
    const { format } = type;
    // GGUF holds norms whole, where the Hugging Face layout has them less 1.
    if (format === 'f32')
      out.set(encodeWeights('f32', spec?.kind === 'centred norm' ? x.map((v) => v + 1) : x));
    else if (format === 'q8_0') toQ80(x, out);
    else if (format === 'q4_k' || format === 'q5_k' || format === 'q6_k') {
      toKQuants(format, x, bytes.subarray(begin, begin + length), out);
    }
  }
  return made;
}

async function makeSafetensors(
  weights: ReadonlyMap<string, Float32Array>,
  file: string,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const made = new Uint8Array(bytes.length);
  const { tensors } = await readHeader(memoryFile(file, bytes));
  for (const tensor of tensors) {
    const x = weightOf(weights, tensor);
    if (x === undefined) continue;
    const { name, dtype, shape, begin } = tensor;
    const out = made.subarray(begin, begin + tensor.bytes);
    if (name.endsWith('_packed')) toInt4(x, out);
    else if (name.endsWith('_scale')) toInt4Scales(x, out);
    else if (dtype === 'BF16') out.set(encodeWeights('bf16', x));
    else if (dtype === 'F8_E4M3') {
      const scale = tensors.find((other) => other.name === `${name}_scale_inv`)!;
      const scales = new Float32Array(bytes.slice(scale.begin, scale.begin + scale.bytes).buffer);
      toFp8(x, shape[shape.length - 2], shape[shape.length - 1], scales, out);
    }
  }
  return made;
}

/** The weight that a tensor holds, or holds the integers or scales of: whole, or that of one expert. */
function weightOf(
  weights: ReadonlyMap<string, Float32Array>,
  { name, shape }: TensorInfo,
): Float32Array | undefined {
  const match = /^(.*?)(?:experts\.(\d+)\.)?([^.]+\.weight)(_packed|_scale)?$/.exec(name);
  if (match === null) return undefined;
  const [, module, expert, weight, part] = match;
  const whole = weights.get(module + weight);
  if (expert === undefined || whole === undefined) return whole;
  const count = elements(shape) * (part === '_packed' ? 8 : part === '_scale' ? 32 : 1);
  return whole.subarray(Number(expert) * count, (Number(expert) + 1) * count);
}
