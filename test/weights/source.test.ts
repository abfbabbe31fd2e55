import { chmod, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WeightError } from '../../src/errors.ts';
import { type FileSource, memorySource, readText } from '../../src/weights/source.ts';
import { directorySource } from '../../src/weights/source_node.ts';
import { urlSource } from '../../src/weights/source_url.ts';
import { text } from './support.ts';

const BYTES = Uint8Array.from({ length: 100 }, (_, i) => i);

/** A server's answer to a Range request for `bytes`. */
function ranged(bytes: Uint8Array, range: string): Response {
  const [, first, last] = /bytes=(\d+)-(\d+)/.exec(range) ?? [];
  if (Number(first) >= bytes.length) {
    return new Response(null, { status: 416, headers: { 'content-range': `bytes */${bytes.length}` } });
  }
  return new Response(bytes.slice(Number(first), Number(last) + 1), {
    status: 206,
    headers: { 'content-range': `bytes ${first}-${last}/${bytes.length}` },
  });
}

/** A source whose server answers with `answer(path, range)`. */
function served(answer: (path: string, range: string) => Response): FileSource {
  return urlSource('https://host/model', async (url, init) =>
    answer(new URL(String(url)).pathname, new Headers(init?.headers).get('range') ?? ''),
  );
}

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'source-'));
});
afterEach(() => rm(dir, { recursive: true }));

async function directory(): Promise<FileSource> {
  await writeFile(join(dir, 'a.bin'), BYTES);
  await writeFile(join(dir, 'empty'), '');
  return directorySource(dir);
}

const FILES = new Map([
  ['a.bin', BYTES],
  ['empty', new Uint8Array(0)],
]);

const web = (path: string, range: string) => {
  const bytes = FILES.get(path.replace('/model/', ''));
  return bytes === undefined ? new Response('no', { status: 404 }) : ranged(bytes, range);
};

describe.each([
  ['memory', async () => memorySource('memory', FILES)],
  ['directory', directory],
  ['url', async () => served(web)],
])('%s source', (_, make) => {
  it('reads ranges into buffers of their own', async () => {
    const file = (await (await make()).open('a.bin'))!;
    expect(file.size).toBe(100);
    const part = await file.read(7, 5);
    expect([...part]).toEqual([7, 8, 9, 10, 11]);
    expect(part.byteOffset).toBe(0);
    expect(await file.read(100, 0)).toHaveLength(0);
    expect(await file.read(0, 100)).toEqual(BYTES);
    await file.close();
  });

  it('reads into memory that is long enough', async () => {
    const file = (await (await make()).open('a.bin'))!;
    const memory = new Uint8Array(20).fill(0xa5);
    const part = await file.read(7, 5, memory.subarray(4));
    expect(part.buffer).toBe(memory.buffer);
    expect([...part]).toEqual([7, 8, 9, 10, 11]);
    expect([...memory.subarray(0, 10)]).toEqual([0xa5, 0xa5, 0xa5, 0xa5, 7, 8, 9, 10, 11, 0xa5]);
    const longer = await file.read(0, 21, memory);
    expect(longer.buffer).not.toBe(memory.buffer);
    expect(longer).toEqual(BYTES.slice(0, 21));
    await file.close();
  });

  it('knows missing and empty files', async () => {
    const source = await make();
    expect(await source.open('b.bin')).toBeUndefined();
    expect(await readText(source, 'b.bin')).toBeUndefined();
    expect(await readText(source, 'empty')).toBe('');
  });

  it.each([
    [99, 2],
    [101, 0],
    [-1, 2],
    [0, -1],
    [0.5, 1],
    [0, Number.NaN],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])('refuses %d + %d', async (offset, length) => {
    const file = (await (await make()).open('a.bin'))!;
    await expect(file.read(offset, length)).rejects.toThrow(/a\.bin: expected .* a file of 100 bytes/);
    await file.close();
  });
});

describe('directory source', () => {
  it('refuses a directory, and a file that shrinks while it is read', async () => {
    const source = await directory();
    await mkdir(join(dir, 'folder'));
    await expect(source.open('folder')).rejects.toThrow(/folder: expected a file, found a directory/);
    const file = (await source.open('a.bin'))!;
    await truncate(join(dir, 'a.bin'), 50);
    await expect(file.read(40, 20)).rejects.toThrow(/the end of the file after 10/);
    await file.close();
    await expect(file.read(0, 1)).rejects.toThrow(WeightError);
  });

  it('refuses a file as directory, and a file without permission', async () => {
    const source = await directory();
    await expect(directorySource(join(dir, 'a.bin')).open('config.json')).rejects.toThrow(/ENOTDIR/);
    await chmod(join(dir, 'a.bin'), 0);
    // The superuser may read everything.
    if (process.getuid?.() !== 0) await expect(source.open('a.bin')).rejects.toThrow(/EACCES/);
  });
});

describe('url source', () => {
  it('slices small files of a server that ignores Range, and refuses large ones', async () => {
    const file = (await served(() => new Response(BYTES)).open('a.bin'))!;
    expect([...(await file.read(3, 2))]).toEqual([3, 4]);
    const large = served(() => new Response('', { headers: { 'content-length': String(2 ** 30) } }));
    await expect(large.open('a.bin')).rejects.toThrow(/a\.bin: expected a server that supports Range/);
  });

  it.each<[string, (range: string) => Response, RegExp]>([
    [
      'a server error',
      () => new Response('', { status: 503 }),
      /found 503 from https:\/\/host\/model\/a\.bin/,
    ],
    ['a hidden size', () => new Response('x', { status: 206 }), /Content-Range header .* found none/],
    [
      'an unknown size',
      () => new Response('x', { status: 206, headers: { 'content-range': 'bytes 0-0/*' } }),
      /found "bytes 0-0\/\*"/,
    ],
    [
      'a network failure',
      () => {
        throw new TypeError('fetch failed');
      },
      /found TypeError: fetch failed/,
    ],
  ])('refuses %s', async (_, answer, message) => {
    const opening = served((_path, range) => answer(range)).open('a.bin');
    await expect(opening).rejects.toThrow(WeightError);
    await expect(opening).rejects.toThrow(message);
  });

  it.each<[string, (range: string) => Response, RegExp]>([
    ['a short body', (range) => new Response('x', ranged(BYTES, range)), /found a response of 1 bytes/],
    ['a long body', (range) => new Response('x'.repeat(99), ranged(BYTES, range)), /found a longer one/],
    ['another range', () => ranged(BYTES, 'bytes=1-10'), /found 206 with bytes 1-10/],
    ['the whole file', () => new Response(BYTES), /found 200/],
  ])('refuses %s in answer to a range', async (_, answer, message) => {
    let first = true;
    const source = served((_path, range) => {
      if (!first) return answer(range);
      first = false;
      return ranged(BYTES, range);
    });
    const file = (await source.open('a.bin'))!;
    await expect(file.read(10, 10)).rejects.toThrow(message);
  });

  it('refuses an address that is none', () => {
    expect(() => urlSource('models/step3')).toThrow(WeightError);
  });
});

describe('readText', () => {
  it('refuses bytes that are not UTF-8, and texts above 64 MiB', async () => {
    const source = memorySource('memory', new Map([['a.json', Uint8Array.of(0x22, 0xff, 0x22)]]));
    await expect(readText(source, 'a.json')).rejects.toThrow(/a\.json: expected UTF-8/);
    const large: FileSource = {
      name: 'large',
      open: async (name) => ({ name, size: 2 ** 30, read: async () => text(''), close: async () => {} }),
    };
    await expect(readText(large, 'a.json')).rejects.toThrow(/a\.json: expected at most 67108864 bytes/);
  });
});
