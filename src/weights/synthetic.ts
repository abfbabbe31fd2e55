/** Seeded weights for any configuration, made on demand: no file, and any byte range without the rest. */
import type { ModelConfig } from '../config/index.ts';
import { InputError } from '../errors.ts';
import {
  DTYPE_BYTES,
  type DType,
  elements,
  encodeWeights,
  PLAIN_BYTES,
  type PlainFormat,
} from '../tensor.ts';
import type { Checkpoint } from './checkpoint.ts';
import { expectedTensors, type TensorSpec } from './names.ts';
import type { TensorInfo } from './safetensors.ts';
import { makeCheckpoint } from './select.ts';
import { allocate, checkRange } from './source.ts';
import { dtypeOf, plainWeight } from './stored_blocks.ts';
import type { CheckpointWeight } from './tensor_data.ts';

/** Every element is one of this many values, evenly spread over its range: chosen by 16 bits of a hash. */
const TABLE_SIZE = 65536;

/**
 * Pairs of elements made by one call of the inner loop: many short calls, because the compiler optimises a loop that is
 * called often, but not (as well) one that is entered once and runs for seconds. Divides 2^32.
 */
const BLOCK_PAIRS = 2 ** 16;

/**
 * A checkpoint of seeded weights. An element depends only on the seed, its tensor's name and its index. Matrices are
 * uniform with variance 1 / fan_in, so that activations keep their scale from layer to layer; the embedding has
 * variance 1; norms lie within 0.1 of 1, biases of routers within 0.2 of 0.
 * @param seed integer from 0 to 2^53 - 1; throws InputError for anything else
 * @param format element type; by default the configuration's own, else bf16
 */
export function syntheticCheckpoint(
  config: ModelConfig,
  seed: number,
  format: PlainFormat = config.torch_dtype ?? 'bf16',
): Checkpoint {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new InputError('seed', 'an integer from 0 to 2^53 - 1', seed);
  const name = `synthetic (seed ${seed})`;
  const entries = layOut(config, name, dtypeOf(format));
  const tables = new Map<string, Uint32Array>();
  const tableOf = (spec: TensorSpec) => {
    const [centre, spread] = distribution(spec);
    const key = `${centre} ${spread}`;
    const table = tables.get(key) ?? makeTable(format, centre, spread);
    tables.set(key, table);
    return table;
  };
  const weights = new Map<string, CheckpointWeight>();
  for (const [tensor, { spec, info }] of entries) {
    const read = async (begin: number, length: number) => {
      checkRange(name, info.bytes, begin, length);
      return generate(tableOf(spec), format, hashName(tensor, seed), begin, length);
    };
    const weight = plainWeight(tensor, { ...info, read });
    if (weight !== undefined) weights.set(tensor, weight);
  }
  return makeCheckpoint({
    name,
    config: { ...config, torch_dtype: format },
    weights,
    close: async () => {},
  });
}

interface Entry {
  readonly spec: TensorSpec;
  readonly info: TensorInfo;
}

function layOut(config: ModelConfig, file: string, dtype: DType): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  let begin = 0;
  for (const spec of expectedTensors(config)) {
    const bytes = elements(spec.shape) * DTYPE_BYTES[dtype];
    const { name, shape } = spec;
    entries.set(name, { spec, info: { name, dtype, shape, file, begin, bytes } });
    begin += bytes;
  }
  return entries;
}

/** Centre and half-width of a tensor's uniform distribution, whose variance is half-width² / 3. */
function distribution({ kind, shape }: TensorSpec): [number, number] {
  if (kind === 'norm') return [1, 0.1];
  if (kind === 'centred norm') return [0, 0.1];
  if (kind === 'bias') return [0, 0.2];
  return [0, kind === 'embedding' ? Math.sqrt(3) : Math.sqrt(3 / (shape.at(-1) ?? 1))];
}

/** The encoded values, one a word whatever the format, so that one loop serves all. */
function makeTable(format: PlainFormat, centre: number, spread: number): Uint32Array {
  const values = new Float64Array(TABLE_SIZE);
  for (let i = 0; i < TABLE_SIZE; i++) values[i] = centre + spread * ((2 * i + 1) / TABLE_SIZE - 1);
  const bytes = encodeWeights(format, values);
  return format === 'f32' ? new Uint32Array(bytes.buffer) : Uint32Array.from(new Uint16Array(bytes.buffer));
}

/** Bytes `[begin, begin + length)` of a tensor: whole pairs of elements are made, then cut. */
function generate(
  table: Uint32Array,
  format: PlainFormat,
  key: readonly [number, number],
  begin: number,
  length: number,
): Uint8Array<ArrayBuffer> {
  const pairBytes = 2 * PLAIN_BYTES[format];
  const first = Math.floor(begin / pairBytes);
  const end = Math.ceil((begin + length) / pairBytes);
  const bytes = allocate('synthetic', (end - first) * pairBytes);
  const words = new Uint32Array(bytes.buffer);
  const wordsPerPair = pairBytes / 4;
  const fill = format === 'f32' ? fillWide : fillNarrow;
  for (let pair = first; pair < end; ) {
    const stop = Math.min(end, (Math.floor(pair / BLOCK_PAIRS) + 1) * BLOCK_PAIRS);
    const out = words.subarray((pair - first) * wordsPerPair, (stop - first) * wordsPerPair);
    // The hash counts in 32 bits; the rest of the index goes into its key.
    fill(out, table, mix(key[0] ^ Math.floor(pair / 2 ** 32), key[1]), key[1], pair | 0);
    pair = stop;
  }
  const skip = begin - first * pairBytes;
  return skip === 0 && length === bytes.length ? bytes : bytes.slice(skip, skip + length);
}

/** 16-bit elements, two a word. Each hash gives a pair: its low half chooses the first, its high half the second. */
function fillNarrow(
  out: Uint32Array,
  table: Uint32Array,
  key: number,
  salt: number,
  firstPair: number,
): void {
  const pairs = out.length;
  for (let i = 0; i < pairs; i++) {
    const hash = mix((firstPair + i) ^ key, salt);
    out[i] = table[hash & 0xffff] | (table[hash >>> 16] << 16);
  }
}

/** 32-bit elements, chosen like those of {@link fillNarrow}. */
function fillWide(out: Uint32Array, table: Uint32Array, key: number, salt: number, firstPair: number): void {
  const words = out.length;
  for (let i = 0; i < words; i += 2) {
    const hash = mix((firstPair + (i >> 1)) ^ key, salt);
    out[i] = table[hash & 0xffff];
    out[i + 1] = table[hash >>> 16];
  }
}

/**
 * A 32-bit integer hash: two rounds of multiply and shift with the constants of "lowbias32" (C. Wellons, Hash
 * Prospector). The salt enters between the rounds, so that two tensors do not visit the same values in another order.
 */
function mix(x: number, salt: number): number {
  let h = (Math.imul(x ^ (x >>> 16), 0x7feb352d) + salt) | 0;
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return h ^ (h >>> 16);
}

/** Two 32-bit keys of a tensor under a seed: FNV-1a over the name, started from each half of the seed. */
function hashName(name: string, seed: number): [number, number] {
  let low = seed >>> 0;
  let high = Math.floor(seed / 2 ** 32) + 1;
  for (let i = 0; i < name.length; i++) {
    low = Math.imul(low ^ name.charCodeAt(i), 0x01000193);
    high = Math.imul(high ^ name.charCodeAt(i), 0x01000193);
  }
  return [mix(low, high), mix(high, low)];
}
