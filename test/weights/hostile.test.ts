/** Safetensors files that are wrong on purpose: each must end in a WeightError that names file and tensor. */
import { describe, it } from 'vitest';
import { WeightError } from '../../src/errors.ts';
import { readHeader } from '../../src/weights/safetensors.ts';
import { memoryFile } from '../../src/weights/source.ts';
import { concat, expectError, rawFile, text, u64 } from './support.ts';

const entry = (dtype: unknown, shape: unknown, data_offsets: unknown) => ({ dtype, shape, data_offsets });
/** A file whose only tensor "w" has this entry, over 8 bytes of data. */
const one = (dtype: unknown, shape: unknown, data_offsets: unknown) =>
  rawFile({ w: entry(dtype, shape, data_offsets) }, 8);
const two = (a: readonly number[], b: readonly number[], dataBytes: number) =>
  rawFile({ a: entry('U8', [a[1] - a[0]], a), b: entry('U8', [b[1] - b[0]], b) }, dataBytes);

/** Name, file, and what the message must mention. */
type HeaderCase = readonly [string, () => Uint8Array, ...string[]];

const HEADERS: readonly HeaderCase[] = [
  ['an empty file', () => new Uint8Array(0), 'at least 8 bytes', '0 bytes'],
  ['a file cut inside the length', () => new Uint8Array(7), 'at least 8 bytes'],
  [
    'a file cut inside the header',
    () => rawFile({ w: entry('U8', [8], [0, 8]) }).slice(0, 30),
    'a file of 30 bytes',
  ],
  ['a header length of 2^63', () => concat(u64(2n ** 63n), text('{}')), '9223372036854775808'],
  ['a header length of 2^64 - 1', () => concat(u64(2n ** 64n - 1n), text('{}')), '18446744073709551615'],
  ['a header length of 2^32', () => concat(u64(2n ** 32n), text('{}')), '100000000'],
  ['a length in big-endian byte order', () => concat(u64(2n).reverse(), text('{}')), '144115188075855872'],
  ['a header one byte past the end', () => concat(u64(3n), text('{}')), 'a header of 3 bytes'],
  ['an empty header', () => rawFile(''), 'begins with {'],
  ['a header of zeros', () => rawFile(new Uint8Array(16)), 'begins with {'],
  ['a header that begins with a space', () => rawFile(' {}'), 'begins with {'],
  ['a header that is a list', () => rawFile('[]'), 'begins with {'],
  ['a header that is not JSON', () => rawFile('{"w": nope}'), 'JSON'],
  ['a header with two documents', () => rawFile('{}{}'), 'JSON'],
  [
    'a header that is not UTF-8',
    () => rawFile(concat(text('{"'), Uint8Array.of(0xc3, 0x28), text('":1}'))),
    'UTF-8',
  ],
  ['a header cut inside a character', () => rawFile(concat(text('{"'), Uint8Array.of(0xf0, 0x9f))), 'UTF-8'],
  ['10,000 nested lists', () => rawFile(`{"w":${'['.repeat(10_000)}${']'.repeat(10_000)}}`), 'nested'],
  ['a million open braces', () => rawFile('{"a":'.repeat(1_000_000)), 'nested'],
  [
    'a tensor named twice',
    () => rawFile('{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{}}'),
    'the key w twice',
  ],
  ['a tensor named twice by an escape', () => rawFile('{"w":{},"\\u0077":{}}'), 'the key w twice'],
  [
    'a field named twice',
    () => rawFile('{"w":{"dtype":"U8","shape":[8],"shape":[4],"data_offsets":[0,8]}}', 8),
    'the key shape twice',
  ],
  ['metadata that is not an object', () => rawFile({ __metadata__: [] }), '__metadata__'],
  [
    'metadata with a number',
    () => rawFile({ __metadata__: { steps: 3 } }),
    '__metadata__',
    '"steps"',
    'found 3',
  ],
  ['an entry that is null', () => rawFile({ w: null }), '"w"', 'object'],
  ['an entry without fields', () => rawFile({ w: {} }), '"w"', 'dtype', 'found nothing'],
  ['an unknown dtype', () => one('F128', [1], [0, 8]), '"w"', 'dtype', '"F128"'],
  ['a dtype from the prototype', () => one('constructor', [1], [0, 8]), '"w"', 'dtype', '"constructor"'],
  ['a dtype that is a number', () => one(32, [1], [0, 8]), '"w"', 'dtype', 'found 32'],
  ['no shape', () => one('F32', undefined, [0, 8]), '"w"', 'shape'],
  ['a shape that is a number', () => one('F32', 2, [0, 8]), '"w"', 'shape'],
  ['a negative size', () => one('F32', [-1, -2], [0, 8]), '"w"', '[-1,-2]'],
  ['a fractional size', () => one('F32', [0.5, 4], [0, 8]), '"w"', '[0.5,4]'],
  ['a size that is a string', () => one('F32', ['2'], [0, 8]), '"w"', '["2"]'],
  [
    'a size above 2^53',
    () => rawFile('{"w":{"dtype":"U8","shape":[1e300],"data_offsets":[0,8]}}', 8),
    '"w"',
    '1e+300',
  ],
  ['a product above 2^53', () => one('F32', [2 ** 40, 2 ** 40], [0, 8]), '"w"', '2^53'],
  [
    'a product that wraps to 8 bytes in 64 bits',
    () => one('U8', [2 ** 33, 2 ** 31, 8], [0, 8]),
    '"w"',
    '2^53',
  ],
  ['a product that a zero would hide', () => one('U8', [2 ** 50, 2 ** 50, 0], [0, 0]), '"w"', '2^53'],
  ['no offsets', () => one('F32', [2], undefined), '"w"', 'data_offsets'],
  ['three offsets', () => one('F32', [2], [0, 4, 8]), '"w"', '[0,4,8]'],
  ['offsets that are strings', () => one('F32', [2], ['0', '8']), '"w"', 'data_offsets'],
  ['a negative offset', () => one('F32', [2], [-8, 0]), '"w"', '[-8,0]'],
  ['a fractional offset', () => one('F32', [2], [0.5, 8.5]), '"w"', '[0.5,8.5]'],
  ['offsets swapped', () => one('F32', [2], [8, 0]), '"w"', 'ascending', '[8,0]'],
  ['offsets past the end', () => one('F32', [3], [0, 12]), '"w"', '8 bytes of data'],
  ['offsets near 2^53', () => one('F32', [2], [2 ** 53 - 9, 2 ** 53 - 1]), '"w"', '8 bytes of data'],
  ['fewer bytes than the shape', () => one('F32', [3], [0, 8]), '"w"', '12 bytes', 'found 8'],
  ['more bytes than the shape', () => one('F32', [1], [0, 8]), '"w"', '4 bytes', 'found 8'],
  ['overlapping tensors', () => two([0, 6], [4, 8], 8), '"b"', '"a"', 'overlap of 2 bytes'],
  ['two tensors on the same bytes', () => two([0, 8], [0, 8], 8), '"b"', 'overlap of 8 bytes'],
  ['a tensor inside another', () => two([0, 8], [2, 4], 8), '"b"', 'overlap of 6 bytes'],
  ['a hole between tensors', () => two([0, 2], [4, 8], 8), '"b"', 'hole of 2 bytes'],
  ['a hole before the first tensor', () => two([1, 4], [4, 8], 8), '"a"', 'the header', 'hole of 1 bytes'],
  ['bytes behind the last tensor', () => two([0, 4], [4, 8], 9), '1 more bytes'],
  ['bytes without a tensor', () => rawFile({}, 5), '5 more bytes'],
  ['a name of a megabyte', () => rawFile({ ['n'.repeat(1e6)]: entry('?', [1], [0, 1]) }, 1), 'nnn', 'dtype'],
  ['a name with line breaks', () => rawFile({ 'a\nb': entry('?', [1], [0, 1]) }, 1), 'a\\nb', 'dtype'],
];

describe('hostile safetensors files', () => {
  it.each(HEADERS.map(([name, make, ...mentions]) => ({ name, make, mentions })))(
    '$name',
    ({ make, mentions }) =>
      expectError(() => readHeader(memoryFile('x.safetensors', make())), WeightError, [
        'x.safetensors',
        ...mentions,
      ]),
  );

  it('a file that ends earlier than its size says', async () => {
    const whole = rawFile({ w: entry('F32', [2], [0, 8]) }, 8);
    const file = { ...memoryFile('x.safetensors', whole.slice(0, 20)), size: whole.length };
    await expectError(() => readHeader(file), WeightError, ['x.safetensors', '20 bytes']);
  });
});
