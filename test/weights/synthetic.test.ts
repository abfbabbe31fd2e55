import { describe, expect, it } from 'vitest';
import { preset } from '../../src/config/index.ts';
import { InputError, WeightError } from '../../src/errors.ts';
import { decodeWeights, elements, type PlainFormat } from '../../src/tensor.ts';
import { firstNonFinite } from '../../src/weights/finite.ts';
import { expectedTensors } from '../../src/weights/names.ts';
import { syntheticCheckpoint } from '../../src/weights/synthetic.ts';
import { loadAll, readBytes, TINY } from './support.ts';

const EXPERTS = 'model.layers.1.moe.gate_proj.weight';
const HUGE = 'model.layers.4.moe.gate_proj.weight';
const FORMATS: PlainFormat[] = ['f32', 'f16', 'bf16'];

describe('syntheticCheckpoint', () => {
  it.each(FORMATS)('gives every tensor of the configuration, finite, in %s', async (format) => {
    const checkpoint = syntheticCheckpoint(TINY, 3, format);
    const tensors = await loadAll(checkpoint);
    expect(tensors.map(({ name, shape }) => ({ name, shape }))).toEqual(
      expectedTensors(TINY).map(({ name, shape }) => ({ name, shape })),
    );
    for (const { dtype, bytes } of tensors) expect(firstNonFinite(dtype, bytes)).toBe(-1);
    expect(checkpoint.config.torch_dtype).toBe(format);
    expect(checkpoint.bytes).toBe(tensors.reduce((sum, { bytes }) => sum + bytes.length, 0));
  });

  it('depends on the seed and the name only', async () => {
    const read = (seed: number, name = EXPERTS) => readBytes(syntheticCheckpoint(TINY, seed), name, 0, 64);
    expect(await read(1)).toEqual(await read(1));
    const others = [read(1), read(2), read(2 ** 40 + 1), read(1, EXPERTS.replace('gate', 'up'))];
    const texts = new Set((await Promise.all(others)).map(String));
    expect(texts.size).toBe(4);
  });

  it('keeps its values from version to version', async () => {
    const bytes = await readBytes(syntheticCheckpoint(TINY, 1, 'bf16'), EXPERTS, 0, 12);
    expect([...new Uint16Array(bytes.buffer)].map((bits) => bits.toString(16))).toMatchInlineSnapshot(`
      [
        "3bef",
        "3e6b",
        "3e4d",
        "3d8d",
        "bcdb",
        "3e0d",
      ]
    `);
  });

  it.each(FORMATS)('makes any byte range alone, in %s', async (format) => {
    const checkpoint = syntheticCheckpoint(TINY, 5, format);
    const whole = await readBytes(checkpoint, EXPERTS, 0, 4000);
    for (const [begin, length] of [
      [0, 1],
      [1, 1],
      [3, 10],
      [7, 0],
      [8, 8],
      [1001, 998],
      [0, 4000],
    ]) {
      const part = await readBytes(checkpoint, EXPERTS, begin, length);
      expect(part).toEqual(whole.slice(begin, begin + length));
      expect(part.byteOffset).toBe(0);
    }
  });

  it('makes ranges far inside a tensor of gigabytes, consistent over the edges of hash blocks', async () => {
    const checkpoint = syntheticCheckpoint(preset('step3'), 1);
    const edge = 2 ** 24 * 2 * 2 * 7;
    const whole = await readBytes(checkpoint, HUGE, edge - 100, 200);
    expect(await readBytes(checkpoint, HUGE, edge - 3, 9)).toEqual(whole.slice(97, 106));
    expect(new Set(new Uint16Array(whole.buffer)).size).toBeGreaterThan(50);
    const { bytes } = checkpoint.weights.get(HUGE)!;
    expect(await readBytes(checkpoint, HUGE, bytes - 2, 2)).toHaveLength(2);
    const vast = syntheticCheckpoint({ ...TINY, vocab_size: 2 ** 24, hidden_size: 2 ** 20 }, 1, 'bf16');
    const parts = [0, 2 ** 34, 2 ** 35, 2 ** 44].map((begin) =>
      readBytes(vast, 'model.embed_tokens.weight', begin, 64),
    );
    expect(new Set((await Promise.all(parts)).map(String)).size).toBe(4);
  });

  it('has the promised distribution', async () => {
    const checkpoint = syntheticCheckpoint(TINY, 9, 'f32');
    const statistics = async (name: string) => {
      const { bytes, shape } = checkpoint.weights.get(name)!;
      const values = new Float64Array(elements(shape));
      decodeWeights('f32', await readBytes(checkpoint, name, 0, bytes), 0, values.length, values);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      return { mean, variance: values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length, values };
    };
    const experts = await statistics(EXPERTS);
    expect(Math.abs(experts.mean)).toBeLessThan(0.005);
    expect(experts.variance * TINY.hidden_size).toBeCloseTo(1, 1);
    expect((await statistics('model.embed_tokens.weight')).variance).toBeCloseTo(1, 1);
    const norm = await statistics('model.norm.weight');
    expect(norm.values.every((value) => Math.abs(value - 1) <= 0.1)).toBe(true);
  });

  it('does not repeat itself from one tensor to the next', async () => {
    const checkpoint = syntheticCheckpoint(TINY, 1, 'f32');
    const [a, b] = await Promise.all(
      ['gate', 'up'].map((part) => readBytes(checkpoint, `model.layers.1.moe.${part}_proj.weight`, 0, 40000)),
    );
    const [x, y] = [a, b].map((bytes) => new Float32Array(bytes.buffer));
    const product = x.reduce((sum, value, i) => sum + value * y[i], 0);
    const square = x.reduce((sum, value) => sum + value * value, 0);
    expect(Math.abs(product / square)).toBeLessThan(0.05);
  });

  it('is fast enough to stream', async () => {
    const checkpoint = syntheticCheckpoint(preset('step3'), 1);
    const size = 32 * 2 ** 20;
    await readBytes(checkpoint, HUGE, 0, size);
    const start = performance.now();
    await readBytes(checkpoint, HUGE, size, size);
    // A loose bound, for busy machines: at rest it takes a tenth.
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('refuses unknown tensors, ranges outside and seeds that are not integers', async () => {
    const checkpoint = syntheticCheckpoint(TINY, 1);
    expect(checkpoint.weight('nope')).toBeUndefined();
    await expect(checkpoint.weight('model.norm.weight')!.readRows(0, 1, 2)).rejects.toThrow(WeightError);
    for (const seed of [-1, 0.5, Number.NaN, 2 ** 60]) {
      expect(() => syntheticCheckpoint(TINY, seed)).toThrow(InputError);
    }
  });
});
