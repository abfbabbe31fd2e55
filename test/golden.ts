/** Reads the reference checkpoints under test/fixtures; large files are stored compressed, as FILE.br. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';
import { readHeader } from '../src/weights/safetensors.ts';
import { type FileSource, memoryFile } from '../src/weights/source.ts';
import { directorySource } from '../src/weights/source_node.ts';

/** Reference inputs and outputs of one checkpoint. */
export interface Golden {
  readonly folder: string;
  /** The folder with its compressed files as what they were. */
  readonly source: FileSource;
  readonly tokens: number[];
  /** [tokens, vocab_size] */
  readonly logits: Float32Array;
  readonly vocab: number;
}

/** Path of a fixture. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
}

/** The bytes of one fixture, given as FOLDER/FILE. */
export async function readFixture(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const [folder, file] = path.split('/');
  const opened = (await fixtureSource(folder).open(file))!;
  const bytes = await opened.read(0, opened.size);
  await opened.close();
  return bytes;
}

/** A folder of fixtures, in which FILE.br stands for FILE. */
export function fixtureSource(name: string): FileSource {
  const folder = directorySource(fixture(name));
  return {
    name: folder.name,
    async open(file) {
      const packed = await folder.open(`${file}.br`);
      if (packed === undefined) return folder.open(file);
      const bytes = brotliDecompressSync(await packed.read(0, packed.size));
      await packed.close();
      return memoryFile(file, new Uint8Array(bytes));
    },
  };
}

export async function readGolden(name: string): Promise<Golden> {
  const bytes = await readFile(fixture(`${name}/golden.safetensors`));
  const { tensors } = await readHeader(memoryFile('golden.safetensors', bytes));
  const part = (tensor: string): ArrayBuffer => {
    const info = tensors.find((t) => t.name === tensor)!;
    return new Uint8Array(bytes).slice(info.begin, info.begin + info.bytes).buffer;
  };
  const vocab = tensors.find((t) => t.name === 'logits')!.shape[1];
  return {
    folder: fixture(name),
    source: fixtureSource(name),
    tokens: [...new Int32Array(part('input_ids'))],
    logits: new Float32Array(part('logits')),
    vocab,
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
