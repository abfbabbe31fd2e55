/** Builders shared by the tests of the weights. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { expect } from 'vitest';
import { configToJson, PRESETS } from '../../src/config/index.ts';
import type { ConfigError, WeightError } from '../../src/errors.ts';
import { type DType, FORMAT_BYTES } from '../../src/tensor.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import { encodeSafetensors } from '../../src/weights/safetensors.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';

export const TINY = PRESETS['step3-tiny'];

export interface MemoryTensor {
  name: string;
  dtype: DType;
  shape: readonly number[];
  bytes: Uint8Array;
}

export function fixture(path: string): Promise<Uint8Array> {
  return readFile(new URL(`../fixtures/${path}`, import.meta.url)).then((buffer) => new Uint8Array(buffer));
}

export function text(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
}

export function u64(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** A safetensors file with any header text and any number of data bytes. */
export function rawFile(header: unknown, dataBytes = 0): Uint8Array {
  const bytes = header instanceof Uint8Array ? header : text(header);
  return concat(u64(BigInt(bytes.length)), bytes, new Uint8Array(dataBytes));
}

/** `length` bytes from byte `begin` of a weight in a plain format. */
export async function readBytes(
  checkpoint: Checkpoint,
  name: string,
  begin: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const { format, rows, cols, readRows } = checkpoint.weight(name)!;
  const rowBytes = cols * FORMAT_BYTES[format];
  const expert = Math.floor(begin / (rows * rowBytes));
  const from = begin - expert * rows * rowBytes;
  const first = Math.floor(from / rowBytes);
  const { values } = await readRows(expert, first, Math.ceil((from + length) / rowBytes));
  return values.slice(from - first * rowBytes, from - first * rowBytes + length);
}

/** Every tensor of a checkpoint in plain formats, in memory. */
export function loadAll(checkpoint: Checkpoint): Promise<MemoryTensor[]> {
  return Promise.all(
    [...checkpoint.weights.values()].map(async ({ name, format, shape, experts, rows, readRows }) => {
      const parts = [];
      for (let expert = 0; expert < experts; expert++) parts.push((await readRows(expert, 0, rows)).values);
      const dtype = { f32: 'F32', f16: 'F16', bf16: 'BF16' }[format as string] as DType;
      return { name, dtype, shape, bytes: concat(...parts) };
    }),
  );
}

/** Name, type, shape and a digest of the bytes of every tensor: comparing the bytes themselves is slow in vitest. */
export function digests(tensors: readonly MemoryTensor[]): object[] {
  return tensors.map(({ bytes, ...header }) => ({
    ...header,
    sha1: createHash('sha1').update(bytes).digest('hex'),
  }));
}

let cached: Promise<MemoryTensor[]> | undefined;

/** The tensors of the step3-tiny preset, as copies that a test may damage. */
export async function tinyTensors(): Promise<MemoryTensor[]> {
  cached ??= loadAll(syntheticCheckpoint(TINY, 1));
  return (await cached).map((tensor) => ({ ...tensor, bytes: tensor.bytes.slice() }));
}

/** A valid checkpoint of the step3-tiny preset with parts replaced; undefined removes a file. */
export async function tinyFiles(
  changes: {
    config?: object;
    tensors?: (tensors: MemoryTensor[]) => MemoryTensor[];
    files?: Record<string, Uint8Array | undefined>;
  } = {},
): Promise<Map<string, Uint8Array>> {
  const tensors = await tinyTensors();
  const files = new Map([
    ['config.json', text({ ...configToJson(TINY), ...changes.config })],
    ['model.safetensors', encodeSafetensors(changes.tensors?.(tensors) ?? tensors)],
  ]);
  for (const [name, bytes] of Object.entries(changes.files ?? {})) {
    if (bytes === undefined) files.delete(name);
    else files.set(name, new Uint8Array(bytes));
  }
  return files;
}

/** Nothing may hang: each case, however large its input, ends within this time. */
const LIMIT_MS = 5000;

/** Runs a case that must fail with this class, soon, in one line that mentions all the given parts. */
export async function expectError(
  run: () => unknown,
  kind: typeof ConfigError | typeof WeightError,
  mentions: readonly string[],
): Promise<void> {
  const start = performance.now();
  const error = await Promise.resolve()
    .then(run)
    .then(
      () => undefined,
      (reason: unknown) => reason,
    );
  expect(performance.now() - start).toBeLessThan(LIMIT_MS);
  expect(error).toBeInstanceOf(kind);
  const { message } = error as Error;
  for (const part of mentions) expect(message).toContain(part);
  expect(message).not.toContain('\n');
  expect(message.length).toBeLessThan(1000);
}
