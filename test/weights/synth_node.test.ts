import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InputError, WeightError } from '../../src/errors.ts';
import { byteTokenizer } from '../../src/weights/byte_tokenizer.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { directorySource } from '../../src/weights/source_node.ts';
import { writeCheckpoint } from '../../src/weights/synth_node.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { writeSafetensors } from '../../src/weights/writer_node.ts';
import { digests, loadAll, TINY, text } from './support.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'synth-'));
});
afterEach(() => rm(dir, { recursive: true }));

describe('writeCheckpoint', () => {
  it('writes one file that reads back', async () => {
    const synthetic = syntheticCheckpoint(TINY, 1, 'f16');
    const progress: number[] = [];
    await writeCheckpoint(synthetic, join(dir, 'new'), { onProgress: (written) => progress.push(written) });
    const opened = await openCheckpoint(directorySource(join(dir, 'new')));
    expect(opened.config).toEqual(synthetic.config);
    expect(digests(await loadAll(opened))).toEqual(digests(await loadAll(synthetic)));
    await opened.close();
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress.at(-1)).toBe(synthetic.bytes);
    expect(await readdir(join(dir, 'new'))).toEqual([
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
  });

  it('writes shards and an index that read back', async () => {
    const synthetic = syntheticCheckpoint(TINY, 2);
    await writeCheckpoint(synthetic, dir, { shardBytes: 100_000 });
    const files = await readdir(dir);
    expect(files).toContain('model.safetensors.index.json');
    expect(files.filter((file) => /^model-0000\d-of-0000\d\.safetensors$/.test(file)).length).toBeGreaterThan(
      3,
    );
    const opened = await openCheckpoint(directorySource(dir));
    expect(digests(await loadAll(opened))).toEqual(digests(await loadAll(synthetic)));
    await opened.close();
  });

  it('refuses a directory in use, and with force replaces only a checkpoint', async () => {
    await writeCheckpoint(syntheticCheckpoint(TINY, 2), dir, { shardBytes: 100_000 });
    await writeFile(join(dir, 'notes.txt'), 'mine');
    const before = await readdir(dir);
    await expect(writeCheckpoint(syntheticCheckpoint(TINY, 3), dir)).rejects.toThrow(WeightError);
    expect(await readdir(dir)).toEqual(before);
    const small = syntheticCheckpoint({ ...TINY, vocab_size: 200, eos_token_ids: [] }, 3);
    await writeCheckpoint(small, dir, { force: true });
    expect(await readdir(dir)).toEqual(['config.json', 'model.safetensors', 'notes.txt']);
  });

  it('leaves nothing after a failure', async () => {
    const synthetic = syntheticCheckpoint(TINY, 1);
    let reads = 0;
    const failing = {
      ...synthetic,
      weights: new Map(
        Array.from(synthetic.weights, ([name, weight]) => [
          name,
          {
            ...weight,
            readRows: (expert: number, begin: number, end: number) => {
              if (++reads > 30) throw new Error('unplugged');
              return weight.readRows(expert, begin, end);
            },
          },
        ]),
      ),
    };
    await expect(writeCheckpoint(failing, dir, { shardBytes: 50_000 })).rejects.toThrow('unplugged');
    expect(await readdir(dir)).toEqual([]);
  });

  it('refuses a disk that is too small', async () => {
    const synthetic = { ...syntheticCheckpoint(TINY, 1), bytes: 2 ** 62 };
    await expect(writeCheckpoint(synthetic, dir)).rejects.toThrow(/bytes of free space/);
  });
});

describe('writeSafetensors', () => {
  it.each([
    ['few', [3]],
    ['many', [2, 3]],
  ])('refuses a tensor with too %s bytes and keeps the older file', async (_, sizes) => {
    const path = join(dir, 'a.safetensors');
    await writeFile(path, text('older'));
    const pieces = () => sizes.map((size) => new Uint8Array(size));
    const writing = writeSafetensors(path, [{ name: 'w', dtype: 'U8', shape: [4], pieces }]);
    await expect(writing).rejects.toThrow(/tensor "w": expected 4 bytes/);
    expect(await readdir(dir)).toEqual(['a.safetensors']);
    expect(await readFile(path, 'utf8')).toBe('older');
  });
});

describe('byteTokenizer', () => {
  const load = (vocab: number, end?: number) => {
    const { tokenizer, config } = byteTokenizer(vocab, end);
    return new Tokenizer(JSON.parse(JSON.stringify(tokenizer)), config);
  };
  const TEXT = 'Hello,  wörld!\n\t<300> 漢字 🙂 é\u00ad\u00a0\u0000';

  it.each([257, 320, 32768])('round-trips text through a vocabulary of %i', (vocab) => {
    const tokenizer = load(vocab);
    const { ids } = tokenizer.encode(TEXT);
    expect(ids).toEqual([...text(TEXT)]);
    expect(tokenizer.decode(ids)).toBe(TEXT);
  });

  it('knows the end of text, and has a text for every token', () => {
    const tokenizer = load(320);
    expect(tokenizer.encode('a<|endoftext|>b').ids).toEqual([97, 256, 98]);
    expect(tokenizer.decode([97, 256, 319], { skip_special_tokens: true })).toBe('a<319>');
  });

  it('moves the bytes aside for an end token among them', () => {
    const tokenizer = load(300, 1);
    expect(tokenizer.encode('\u0000\u0001<|endoftext|>').ids).toEqual([0, 2, 1]);
    expect(tokenizer.decode(tokenizer.encode(TEXT).ids)).toBe(TEXT);
  });

  it('leaves filler out of vocabularies too large to spell out', () => {
    const { tokenizer } = byteTokenizer(2 ** 24, 2 ** 24 - 1);
    expect(JSON.stringify(tokenizer).length).toBeLessThan(10_000);
    expect(load(2 ** 24, 2 ** 24 - 1).encode('a<|endoftext|>').ids).toEqual([97, 2 ** 24 - 1]);
  });

  it.each([
    [256, undefined],
    [Number.NaN, undefined],
    [300, 300],
    [300, -1],
  ])('refuses a vocabulary of %d with end token %s', (vocab, end) => {
    expect(() => byteTokenizer(vocab, end)).toThrow(InputError);
  });
});
