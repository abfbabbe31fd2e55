import { SafeTensor } from 'safetensors';
import { describe, expect, it } from 'vitest';
import { WeightError } from '../../src/errors.ts';
import { encodeSafetensors, readHeader } from '../../src/weights/safetensors.ts';
import { memoryFile } from '../../src/weights/source.ts';
import { fixture, rawFile, text, tinyTensors } from './support.ts';

const open = (bytes: Uint8Array) => readHeader(memoryFile('x.safetensors', bytes));

describe('readHeader', () => {
  it('reads the header of a file with metadata', async () => {
    const file = await fixture('step3-tiny/model.safetensors');
    const { metadata, tensors } = await open(file);
    expect(metadata).toEqual({ format: 'pt' });
    expect(tensors).toHaveLength(70);
    expect(tensors[0]).toMatchObject({
      name: 'lm_head.weight',
      dtype: 'F32',
      shape: [101, 64],
      bytes: 25856,
    });
    expect(tensors.reduce((end, { begin, bytes }) => Math.max(end, begin + bytes), 0)).toBe(file.length);
  });

  it('accepts no tensors, scalars, empty tensors and unsorted headers', async () => {
    expect((await open(rawFile({}))).tensors).toEqual([]);
    const header = {
      b: { dtype: 'U8', shape: [3], data_offsets: [4, 7] },
      empty: { dtype: 'F64', shape: [0, 5], data_offsets: [4, 4] },
      a: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
    };
    const { tensors } = await open(rawFile(header, 7));
    expect(tensors.map(({ name }) => name)).toEqual(['a', 'empty', 'b']);
  });

  it('agrees with the npm package safetensors, which does no checking', async () => {
    const file = encodeSafetensors(await tinyTensors());
    const other = new SafeTensor(file);
    const { tensors } = await open(file);
    expect(tensors).toHaveLength(other.metadata.size);
    for (const { name, dtype, shape, begin, bytes } of tensors) {
      expect(other.metadata.get(name)).toEqual({ dtype, shape, data_offsets: [begin, begin + bytes] });
      expect(Buffer.compare(other.getTensor(name), file.subarray(begin, begin + bytes))).toBe(0);
    }
  });
});

describe('encodeSafetensors', () => {
  it('round-trips tensors and metadata, wide elements first', async () => {
    const file = encodeSafetensors(
      [
        { name: 'bytes', dtype: 'U8', shape: [3], bytes: Uint8Array.of(1, 2, 3) },
        { name: '7', dtype: 'F32', shape: [2], bytes: new Uint8Array(Float32Array.of(0.5, -1).buffer) },
        { name: '__proto__', dtype: 'I64', shape: [1], bytes: new Uint8Array(8) },
      ],
      { made: 'by hand' },
    );
    const { metadata, tensors } = await open(file);
    expect(metadata).toEqual({ made: 'by hand' });
    expect(tensors.map(({ name }) => name)).toEqual(['__proto__', '7', 'bytes']);
    expect(tensors.map(({ begin }) => begin % 8)).toEqual([0, 0, 0]);
    const { begin } = tensors[1];
    expect(new Float32Array(file.buffer, begin, 2)).toEqual(Float32Array.of(0.5, -1));
  });

  it.each([
    ['a repeated name', ['a', 'a'], 1],
    ['the reserved name', ['__metadata__'], 1],
    ['too few bytes', ['a'], 2],
  ])('refuses %s', (_, names, size) => {
    const tensors = names.map((name) => ({ name, dtype: 'U8' as const, shape: [size], bytes: text('x') }));
    expect(() => encodeSafetensors(tensors)).toThrow(WeightError);
  });
});
