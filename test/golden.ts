/** Reads what lies under test/fixtures; its README says what that is. */
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';
import { readHeader } from '../src/weights/safetensors.ts';
import { decodeUtf8, type FileSource, memoryFile } from '../src/weights/source.ts';
import { directorySource } from '../src/weights/source_node.ts';
import { type DrawnFile, restore } from './drawn/restore.ts';

/** Reference inputs and outputs of one checkpoint. */
export interface Golden {
  readonly folder: string;
  /** The folder as published. */
  readonly source: FileSource;
  readonly tokens: number[];
  /** [tokens, vocab_size] */
  readonly logits: Float32Array;
  readonly vocab: number;
  /** Of the later checkpoints: what else is known of them. */
  readonly facts?: GoldenFacts;
}

/** `golden.json`. */
interface GoldenFacts {
  /** Greedy continuation of `tokens`. */
  readonly expected_tokens: number[];
  /** Of GGUF files: texts with their ids. */
  readonly tokenizer?: readonly { readonly text: string; readonly ids: number[] }[];
}

/** Tensors of a safetensors file in memory. */
interface Tensors {
  readonly names: readonly string[];
  shape(tensor: string): readonly number[];
  bytes(tensor: string): Uint8Array<ArrayBuffer>;
  i32(tensor: string): Int32Array;
  f32(tensor: string): Float32Array<ArrayBuffer>;
}

/** Path of a fixture. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
}

/** The bytes of one fixture, given as FOLDER/FILE. */
export async function readFixture(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const [folder, file] = path.split('/');
  return (await contents(fixtureSource(folder), file))!;
}

/** The tensors of a safetensors fixture, given as FOLDER/FILE. */
export async function readTensors(path: string): Promise<Tensors> {
  const file = await readFixture(path);
  const { tensors } = await readHeader(memoryFile(path, file));
  const find = (name: string) => tensors.find((tensor) => tensor.name === name)!;
  const bytes = (name: string) => file.slice(find(name).begin, find(name).begin + find(name).bytes);
  return {
    names: tensors.map(({ name }) => name),
    shape: (name) => find(name).shape,
    bytes,
    i32: (name) => new Int32Array(bytes(name).buffer),
    f32: (name) => new Float32Array(bytes(name).buffer),
  };
}

/** What was opened before, by path: unpacking and restoring take time, and tests open the same files again. */
const opened = new Map<string, Promise<Uint8Array | undefined>>();

/** A folder of fixtures as published: FILE.br stands for FILE, and FILE.drawn is restored (`drawn/restore.ts`). */
export function fixtureSource(name: string): FileSource {
  const folder = unpacked(name);
  return {
    ...folder,
    async open(file) {
      const path = `${name}/${file}`;
      if (!opened.has(path)) opened.set(path, published(folder, file));
      const bytes = await opened.get(path);
      return bytes === undefined ? undefined : memoryFile(file, bytes);
    },
  };
}

async function published(folder: FileSource, file: string): Promise<Uint8Array | undefined> {
  const kept = await contents(folder, `${file}.drawn`);
  if (kept === undefined) return contents(folder, file);
  const drawn: DrawnFile = JSON.parse(decodeUtf8('drawn.json', (await contents(folder, 'drawn.json'))!));
  const open: FileSource['open'] = async (other) =>
    other === file ? memoryFile(file, kept) : folder.open(other);
  return restore({ ...folder, open }, drawn);
}

/** A folder of fixtures in which FILE.br stands for FILE. */
function unpacked(name: string): FileSource {
  const folder = directorySource(fixture(name));
  return {
    name: folder.name,
    async open(file) {
      const packed = await contents(folder, `${file}.br`);
      return packed === undefined ? folder.open(file) : memoryFile(file, brotliDecompressSync(packed));
    },
    list: async () => (await folder.list!()).map((file) => file.replace(/(\.drawn)?(\.br)?$/, '')),
  };
}

async function contents(source: FileSource, file: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const range = await source.open(file);
  const bytes = await range?.read(0, range.size);
  await range?.close();
  return bytes;
}

export async function readGolden(name: string): Promise<Golden> {
  const source = fixtureSource(name);
  const tensors = await readTensors(`${name}/golden.safetensors`);
  const text = await contents(source, 'golden.json');
  return {
    folder: fixture(name),
    source,
    tokens: [...tensors.i32('input_ids')],
    logits: tensors.f32('logits'),
    vocab: tensors.shape('logits')[1],
    ...(text === undefined ? {} : { facts: JSON.parse(decodeUtf8('golden.json', text)) }),
  };
}

/** Largest difference to the reference, and positions whose most probable token differs. */
export function worst(golden: Golden, got: Float32Array): { difference: number; argmaxDiffers: number } {
  let difference = got.length === golden.logits.length ? 0 : Number.POSITIVE_INFINITY;
  let argmaxDiffers = 0;
  for (let row = 0; row < golden.tokens.length; row++) {
    const want = golden.logits.subarray(row * golden.vocab, (row + 1) * golden.vocab);
    const have = got.subarray(row * golden.vocab, (row + 1) * golden.vocab);
    want.forEach((value, i) => {
      const d = Math.abs(have[i] - value);
      if (!(d <= difference)) difference = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
    });
    const argmax = (values: Float32Array) => values.reduce((best, v, i) => (v > values[best] ? i : best), 0);
    if (argmax(want) !== argmax(have)) argmaxDiffers++;
  }
  return { difference, argmaxDiffers };
}
