/** The GGUF container: what a header says, files that are wrong on purpose, and whole checkpoints. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gguf as independentReader } from '@huggingface/gguf';
import { describe, expect, it } from 'vitest';
import { WeightError } from '../../src/errors.ts';
import { openModelSource } from '../../src/runtime/load_model.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { ggmlTypeOf } from '../../src/weights/ggml_types.ts';
import { readGguf } from '../../src/weights/gguf.ts';
import { memoryFile, memorySource } from '../../src/weights/source.ts';
import { directorySource } from '../../src/weights/source_node.ts';
import {
  bool,
  bools,
  f32,
  floats,
  ggufFile,
  ints,
  type Meta,
  STEP3,
  step3Tensors,
  str,
  type TestTensor,
  texts,
  u32,
} from './gguf_support.ts';
import { concat, expectError } from './support.ts';

const META: Meta = {
  'general.architecture': str('step35'),
  count: u32(7),
  wide: { type: 'uint64', value: 2 ** 40 },
  small: { type: 'int8', value: -3 },
  short: { type: 'int16', value: -300 },
  eps: f32(1e-5),
  exact: { type: 'float64', value: 0.1 },
  yes: bool(true),
  heads: ints(4, -8, 12),
  limits: floats(0, 0.5),
  pattern: bools(false, true),
  tokens: texts('a', '', 'Ġ我', '__proto__'),
  none: texts(),
};

const TENSORS: readonly TestTensor[] = [
  { name: 'ta', format: 'q4_k', shape: [3, 512] },
  { name: 'tb', format: 'f32', shape: [5] },
  { name: 'tc', format: 'q8_0', shape: [2, 3, 64] },
];

const FILE = ggufFile(META, TENSORS);
const read = (bytes: Uint8Array) => readGguf(memoryFile('x.gguf', bytes));

describe('readGguf', () => {
  it('reads metadata of every type, and tensors with shapes outermost first', async () => {
    const { metadata, tensors } = await read(FILE);
    expect(Object.fromEntries(metadata)).toEqual({
      'general.architecture': 'step35',
      count: 7,
      wide: 2 ** 40,
      small: -3,
      short: -300,
      eps: Math.fround(1e-5),
      exact: 0.1,
      yes: true,
      heads: [4, -8, 12],
      limits: [0, 0.5],
      pattern: [false, true],
      tokens: ['a', '', 'Ġ我', '__proto__'],
      none: [],
    });
    const begin = tensors[0].begin;
    expect(begin % 32).toBe(0);
    expect(tensors.map(({ type, ...rest }) => ({ ...rest, format: type.format }))).toEqual([
      { name: 'ta', format: 'q4_k', shape: [3, 512], file: 'x.gguf', begin, bytes: 3 * 2 * 144 },
      { name: 'tb', format: 'f32', shape: [5], file: 'x.gguf', begin: begin + 864, bytes: 20 },
      { name: 'tc', format: 'q8_0', shape: [2, 3, 64], file: 'x.gguf', begin: begin + 896, bytes: 12 * 34 },
    ]);
  });

  it('reads version 2, and a chunk at a time', async () => {
    const old = FILE.slice();
    old[4] = 2;
    expect((await read(old)).tensors).toHaveLength(3);
    const long = ggufFile(
      { ...META, big: str('x'.repeat(300_000)), many: ints(...Array(100_000).keys()) },
      TENSORS,
    );
    const { metadata, tensors } = await read(long);
    expect(metadata.get('many')).toHaveLength(100_000);
    expect(tensors.map(({ name }) => name)).toEqual(['ta', 'tb', 'tc']);
  });

  it('what it writes, another reader reads alike', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'step3-'));
    try {
      const path = join(folder, 'x.gguf');
      await writeFile(path, FILE);
      const other = await independentReader(path, { allowLocalFile: true });
      const own = await read(FILE);
      for (const [key, value] of own.metadata) {
        const theirs = (other.metadata as Record<string, unknown>)[key];
        expect(typeof theirs === 'bigint' ? Number(theirs) : theirs).toEqual(value);
      }
      expect(
        other.tensorInfos.map(({ name, shape, dtype, offset }) => ({
          name,
          shape: shape.map(Number).reverse(),
          id: dtype,
          begin: Number(other.tensorDataOffset + offset),
        })),
      ).toEqual(own.tensors.map(({ name, shape, type, begin }) => ({ name, shape, id: type.id, begin })));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

/** FILE with bytes replaced at `at`, counted from the first place where `after` stands. */
function patched(after: string, at: number, value: bigint, size: 4 | 8): Uint8Array {
  const file = FILE.slice();
  const found = Buffer.from(file).indexOf(after) + after.length + at;
  const view = new DataView(file.buffer);
  if (size === 4) view.setUint32(found, Number(value), true);
  else view.setBigUint64(found, value, true);
  return file;
}

const header = (tensors: bigint, keys: bigint, ...rest: Uint8Array[]) => {
  const file = new Uint8Array(24);
  file.set(FILE.subarray(0, 8));
  new DataView(file.buffer).setBigUint64(8, tensors, true);
  new DataView(file.buffer).setBigUint64(16, keys, true);
  return concat(file, ...rest);
};

/** FILE with one name in place of another of the same length. */
function renamed(from: string, to: string): Uint8Array {
  const file = FILE.slice();
  file.set(new TextEncoder().encode(to), Buffer.from(file).indexOf(from));
  return file;
}

/** In FILE tensor "ta" has its dimensions 4 bytes after its name, its type 20 and its offset 24. */
const HOSTILE: readonly (readonly [string, () => Uint8Array, ...string[]])[] = [
  ['an empty file', () => new Uint8Array(0), '24 bytes of a GGUF header', 'end of the file at 0'],
  ['another format', () => new Uint8Array(64), '"GGUF"', '0x00000000'],
  ['version 1', () => FILE.map((b, i) => (i === 4 ? 1 : b)), 'version 2 or 3', 'version 1'],
  ['a big-endian file', () => FILE.map((b, i) => (i === 4 ? 0 : i === 7 ? 3 : b)), 'big-endian'],
  ['2^63 tensors', () => header(2n ** 63n, 0n), '9223372036854775808'],
  [
    'a million tensors in a small file',
    () => header(1_000_000n, 0n, new Uint8Array(1000)),
    'at most 42 tensors',
  ],
  ['2^40 keys', () => header(0n, 2n ** 40n), '1099511627776'],
  [
    'a key of 2^40 bytes',
    () => patched('general.arch', -20, 2n ** 40n, 8),
    'metadata key 0',
    '1099511627776',
  ],
  [
    'a string of 2^40 bytes',
    () => patched('general.architecture', 4, 2n ** 40n, 8),
    'general.architecture',
    '1099511627776 bytes',
  ],
  ['a value of type 13', () => patched('count', 0, 13n, 4), '"count"', 'type 13'],
  ['an array of 2^61 values', () => patched('heads', 8, 2n ** 61n, 8), '"heads"', '2305843009213693952'],
  ['an array of arrays', () => patched('heads', 4, 9n, 4), '"heads"', 'array of arrays'],
  ['an integer above 2^53', () => patched('wide', 4, 2n ** 60n, 8), '"wide"', '2^53'],
  [
    'a truth value of 7',
    () => FILE.map((b, i) => (i === Buffer.from(FILE).indexOf('yes') + 7 ? 7 : b)),
    '"yes"',
    '7',
  ],
  ['a key twice', () => renamed('small', 'short'), 'short', 'twice'],
  [
    'text that is not UTF-8',
    () => FILE.map((b, i) => (i === Buffer.from(FILE).indexOf('step35') ? 0xff : b)),
    'UTF-8',
  ],
  ['no dimensions', () => patched('ta', 0, 0n, 4), '"ta"', 'dimensions', 'found 0'],
  ['five dimensions', () => patched('ta', 0, 5n, 4), '"ta"', 'found 5'],
  ['a size of 0', () => patched('ta', 4, 0n, 8), '"ta"', '[3, 0]'],
  ['a size of 2^64 - 1', () => patched('ta', 12, 2n ** 64n - 1n, 8), '"ta"', '18446744073709551615'],
  ['sizes whose product is beyond 2^53', () => patched('ta', 12, 2n ** 50n, 8), '"ta"', '2^53'],
  ['half a block', () => patched('ta', 4, 500n, 8), '"ta"', 'blocks of 256', '500 columns'],
  ['an unknown type', () => patched('ta', 20, 999n, 4), '"ta"', 'number 999'],
  ['a type that is not supported', () => patched('ta', 20, 17n, 4), '"ta"', 'IQ2_XS'],
  ['an odd offset', () => patched('tb', 16, 865n, 8), '"tb"', 'multiple of 32'],
  ['an offset past the end', () => patched('tc', 32, 2n ** 40n, 8), '"tc"', 'offset 1099511627776'],
  ['an offset of 2^63', () => patched('tc', 32, 2n ** 63n, 8), '"tc"', '9223372036854775808'],
  ['overlapping tensors', () => patched('tb', 16, 832n, 8), '"tb"', 'overlap of 32 bytes'],
  ['two tensors on the same bytes', () => patched('tc', 32, 0n, 8), 'overlap'],
  ['a hole', () => patched('tb', 16, 928n, 8), 'hole of'],
  ['a truncated file', () => FILE.slice(0, FILE.length - 64), '"tc"', `a file of ${FILE.length - 64} bytes`],
  ['an alignment of 48', () => ggufFile({ 'general.alignment': u32(48) }, []), 'general.alignment', '48'],
  ['an alignment of 2^31', () => ggufFile({ 'general.alignment': u32(2 ** 31) }, []), 'general.alignment'],
  ['a tensor twice', () => ggufFile({}, [TENSORS[1], TENSORS[1]]), '"tb"', 'twice'],
];

describe('hostile GGUF files', () => {
  it.each(HOSTILE.map(([name, make, ...mentions]) => ({ name, make, mentions })))(
    '$name',
    ({ make, mentions }) => expectError(() => read(make()), WeightError, ['x.gguf', ...mentions]),
  );

  it('every truncation of a header', async () => {
    const end = (await read(FILE)).tensors[0].begin;
    for (let length = 0; length < end; length++) {
      await expect(read(FILE.slice(0, length))).rejects.toThrow(WeightError);
    }
  });
});

describe('checkpoints in GGUF files', () => {
  const open = (files: Record<string, Uint8Array>, name?: string) =>
    openCheckpoint(memorySource('memory', new Map(Object.entries(files))), name);

  it('finds the only model of a folder, and reads blocks as they stand', async () => {
    const row = Uint8Array.from({ length: 34 * 32 }, (_, i) => (i % 34 === 1 ? 0x2c : i * 7));
    const tensors = step3Tensors('q8_0', ({ name }) => (name === 'blk.2.attn_q_b.weight' ? row : undefined));
    const file = ggufFile(STEP3, tensors);
    const checkpoint = await open({
      'm.gguf': file,
      'mmproj-m.gguf': new Uint8Array(3),
      'notes.txt': new Uint8Array(1),
    });
    expect(checkpoint.config).toMatchObject({
      architecture: 'step3',
      share_q_dim: 32,
      moe_layers: [1],
      vocab_size: 64,
    });
    const wq = checkpoint.weight('model.layers.2.self_attn.wq.weight')!;
    expect(wq).toMatchObject({ format: 'q8_0', experts: 1, rows: 32, cols: 32 });
    expect((await wq.readRows(0, 3, 5)).values).toEqual(row.slice(3 * 34, 5 * 34));
    expect(checkpoint.weight('model.layers.1.moe.down_proj.weight')).toMatchObject({
      experts: 3,
      rows: 32,
      cols: 32,
    });
    expect(checkpoint.weight('model.norm.weight')).toMatchObject({ format: 'f32', rows: 1, cols: 32 });
    expect([...checkpoint.weights.keys()].slice(0, 2)).toEqual([
      'model.embed_tokens.weight',
      'model.layers.0.input_layernorm.weight',
    ]);
    await checkpoint.close();
    await expect(wq.readRows(0, 0, 1)).rejects.toThrow(/closed/);
  });

  it('refuses blocks whose scale is NaN or infinite, and says where', async () => {
    for (const format of ['q8_0', 'q4_0', 'q5_1', 'iq4_nl', 'mxfp4', 'q4_1', 'q5_0'] as const) {
      const { bytes: size, scales } = ggmlTypeOf(format)!;
      const bytes = new Uint8Array(size * 32);
      const at = scales.at(-1);
      if (at === undefined) bytes[size * 17] = 0xff;
      else bytes.set([0x00, 0xfc], size * 17 + at);
      const tensors = step3Tensors(format, ({ name }) =>
        name === 'blk.0.attn_q_a.weight' ? bytes : undefined,
      );
      const checkpoint = await open({ 'm.gguf': ggufFile(STEP3, tensors) });
      const weight = checkpoint.weight('model.layers.0.self_attn.q_proj.weight')!;
      await weight.readRows(0, 0, 17);
      await expect(weight.readRows(0, 9, 32)).rejects.toThrow(/blk\.0\.attn_q_a\.weight.*\[17, 0\]/);
    }
  });

  it('joins the parts of a split file', async () => {
    const tensors = step3Tensors('q4_0');
    const part = (no: number, list: TestTensor[], meta: Meta = {}) =>
      ggufFile(
        {
          ...meta,
          'split.no': { type: 'uint16', value: no },
          'split.count': { type: 'uint16', value: 2 },
          'split.tensors.count': { type: 'int32', value: tensors.length },
        },
        list,
      );
    const names = ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'];
    const files = { [names[0]]: part(0, tensors.slice(0, 9), STEP3), [names[1]]: part(1, tensors.slice(9)) };
    for (const name of [undefined, ...names])
      expect((await open(files, name)).weights.size).toBe(tensors.length);
    const wrong = async (change: Record<string, Uint8Array>, ...mentions: string[]) =>
      expectError(() => open({ ...files, ...change }, names[0]), WeightError, mentions);
    await wrong({ [names[1]]: part(0, tensors.slice(9)) }, names[1], 'split.no 1', 'found 0');
    await wrong({ [names[1]]: part(1, tensors.slice(8)) }, names[1], 'in one part');
    await wrong({ [names[1]]: part(1, tensors.slice(10)) }, 'split.tensors.count');
    await expectError(() => open({ [names[0]]: files[names[0]] }), WeightError, [names[1], 'no such file']);
    await expectError(() => open({ 'm-00001-of-99999.gguf': files[names[0]] }), WeightError, [
      '99999',
      'parts',
    ]);
  });

  it('takes fused queries, keys and values apart', async () => {
    const row = Uint8Array.from({ length: 34 * 64 }, (_, i) => (i % 34 === 1 ? 0x2c : i * 11));
    const tensors: TestTensor[] = step3Tensors('q8_0').filter(
      ({ name }) => !/blk\.1\.attn_(q_a|k|v)\.weight/.test(name),
    );
    const fused = (rows: number): TestTensor => ({
      name: 'blk.1.attn_qkv.weight',
      format: 'q8_0',
      shape: [rows, 32],
      bytes: row.slice(0, 34 * rows),
    });
    const checkpoint = await open({ 'm.gguf': ggufFile(STEP3, [...tensors, fused(64)]) });
    const part = (name: string) => checkpoint.weight(`model.layers.1.self_attn.${name}.weight`)!;
    expect(part('q_proj').rows).toBe(32);
    expect((await part('q_proj').readRows(0, 1, 2)).values).toEqual(row.slice(34, 68));
    expect((await part('k_proj').readRows(0, 0, 16)).values).toEqual(row.slice(32 * 34, 48 * 34));
    expect((await part('v_proj').readRows(0, 15, 16)).values).toEqual(row.slice(63 * 34));
    const wrong = () => open({ 'm.gguf': ggufFile(STEP3, [...tensors, fused(62)]) });
    await expectError(wrong, WeightError, ['attn_qkv', '64 rows', '[62,32]']);
  });

  it('wants to be told which of several models', async () => {
    const file = ggufFile(STEP3, step3Tensors('q4_0'));
    await expectError(() => open({ 'a.gguf': file, 'b.gguf': file }), WeightError, ['a.gguf', 'b.gguf']);
    expect((await open({ 'a.gguf': file, 'b.gguf': file }, 'b.gguf')).name).toBe('memory/b.gguf');
  });

  it('names what is missing, unknown or of another shape', async () => {
    const tensors = step3Tensors('q4_0');
    const cases: [TestTensor[], string[]][] = [
      [tensors.slice(1), ['token_embd.weight']],
      [
        tensors.filter(({ name }) => name !== 'blk.1.ffn_gate_inp.weight'),
        ['model.layers.1.moe.gate.weight'],
      ],
      [
        [...tensors, { name: 'blk.0.attn_sinks.weight', format: 'f32', shape: [2] }],
        ['attn_sinks', 'one more'],
      ],
      [
        tensors.map((t) => (t.name === 'blk.0.attn_k.weight' ? { ...t, shape: [32, 32] } : t)),
        ['attn_k', '[16,32]', '[32,32]'],
      ],
    ];
    for (const [list, mentions] of cases) {
      await expectError(() => open({ 'm.gguf': ggufFile(STEP3, list) }), WeightError, [
        'm.gguf',
        ...mentions,
      ]);
    }
  });

  it('opens from a folder on disk', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'step3-'));
    try {
      await writeFile(join(folder, 'm.gguf'), ggufFile(STEP3, step3Tensors('bf16')));
      const checkpoint = await openCheckpoint(directorySource(folder));
      expect(checkpoint.weight('lm_head.weight')?.format).toBe('bf16');
      await checkpoint.close();
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('opens over HTTP by ranges, by the address of the file', async () => {
    const file = ggufFile(STEP3, step3Tensors('q8_0'));
    const asked: number[] = [];
    const server = createServer((request, response) => {
      const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
      if (request.url !== '/models/a%20b.gguf' || from === undefined)
        return void response.writeHead(404).end();
      const part = file.slice(Number(from), Number(to) + 1);
      asked.push(part.length);
      const range = `bytes ${from}-${Number(from) + part.length - 1}/${file.length}`;
      response.writeHead(206, { 'content-range': range }).end(part);
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const { checkpoint } = await openModelSource(`http://127.0.0.1:${port}/models/a%20b.gguf`);
      const { values } = await checkpoint.weights.get('lm_head.weight')!.readRows(0, 1, 2);
      expect(values).toHaveLength(34);
      expect(asked.at(-1)).toBe(34);
      await checkpoint.close();
      const folder = openModelSource(new URL(`http://127.0.0.1:${port}/models/`));
      await expect(folder).rejects.toThrow(/config\.json/);
    } finally {
      server.close();
    }
  });
});
