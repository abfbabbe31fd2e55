import { afterEach, describe, expect, it, vi } from 'vitest';
import { type DType, encodeWeights, formatOf } from '../../src/tensor.ts';
import { checkFinite, firstNonFinite } from '../../src/weights/finite.ts';
import { skipClear } from '../../src/weights/finite_simd.ts';

const DTYPES: DType[] = ['F32', 'F16', 'BF16'];

describe.each(DTYPES)('firstNonFinite of %s', (dtype) => {
  const format = formatOf(dtype)!;
  const largest = { f32: 3.4e38, f16: 65504, bf16: 3.38e38 }[format];
  const values = [0, -0, 1, -1, largest, -largest, 1e-7, 5e-8, 2];

  it('passes finite values, largest and subnormal included', () => {
    expect(firstNonFinite(dtype, encodeWeights(format, values))).toBe(-1);
    expect(firstNonFinite(dtype, new Uint8Array(0))).toBe(-1);
  });

  it('finds the first of several among many words, at every position', () => {
    const many = Array.from({ length: 37 }, (_, i) => i / 7 - 2);
    for (let at = 0; at < many.length; at++) {
      const bad = many.map((value, i) => (i < at || i % 3 === 1 ? value : Number.NaN)).with(at, Infinity);
      expect(firstNonFinite(dtype, encodeWeights(format, bad))).toBe(at);
    }
  });

  it.each([Number.NaN, Infinity, -Infinity])('finds %d at every position, odd last one included', (bad) => {
    for (let at = 0; at < values.length; at++) {
      expect(firstNonFinite(dtype, encodeWeights(format, values.with(at, bad)))).toBe(at);
    }
  });

  it('finds the first of several, and in bytes that are not aligned', () => {
    const bytes = encodeWeights(format, [1, 2, 3, Number.NaN, Infinity]);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect(firstNonFinite(dtype, shifted.subarray(1))).toBe(3);
  });
});

describe.each(DTYPES)('blocks of %s', (dtype) => {
  const format = formatOf(dtype)!;
  const size = dtype === 'F32' ? 4 : 2;
  const perBlock = 65536 / size;
  const count = 3 * perBlock + 13;
  const clean = encodeWeights(
    format,
    Float64Array.from({ length: count }, (_, i) => (i % 2 === 0 ? 1 : -1) * (1 + (i % 997))),
  );
  const places = [0, 1, perBlock - 1, perBlock, 2 * perBlock - 1, 2 * perBlock, 3 * perBlock, count - 1];
  afterEach(() => vi.unstubAllGlobals());

  /** With one bad element, and every place after it bad too. */
  const damaged = (at: number, value: number) => {
    const bytes = clean.slice();
    for (const place of places.filter((one) => one >= at)) {
      bytes.set(encodeWeights(format, [value]), place * size);
    }
    return bytes;
  };

  it.each([Number.NaN, Infinity, -Infinity])('finds the first %d at every end of a block', (bad) => {
    expect(firstNonFinite(dtype, clean)).toBe(-1);
    for (const at of places) expect(firstNonFinite(dtype, damaged(at, bad))).toBe(at);
  });

  it('finds it in bytes that are not aligned, and after whole blocks alone', () => {
    for (const shift of [1, 2, 4, 16]) {
      const shifted = new Uint8Array(clean.length + shift);
      shifted.set(damaged(perBlock, Number.NaN), shift);
      expect(firstNonFinite(dtype, shifted.subarray(shift))).toBe(perBlock);
    }
    expect(firstNonFinite(dtype, clean.subarray(0, 65536))).toBe(-1);
    expect(firstNonFinite(dtype, damaged(perBlock - 1, Infinity).subarray(0, 65536))).toBe(perBlock - 1);
  });

  it('passes over clean blocks, and over none without WebAssembly', async () => {
    const test = { exponent: 0x7f800000, one: 0x00800000, carry: 0x80000000 };
    const zeros = new Uint8Array(3 * 65536 + 40);
    expect(skipClear(zeros, test)).toBe(3 * 65536);
    vi.stubGlobal('WebAssembly', undefined);
    vi.resetModules();
    const other = await import('../../src/weights/finite_simd.ts');
    expect(other.skipClear(zeros, test)).toBe(0);
    const { firstNonFinite: found } = await import('../../src/weights/finite.ts');
    expect(found(dtype, clean)).toBe(-1);
    for (const at of places) expect(found(dtype, damaged(at, Number.NaN))).toBe(at);
  });
});

describe('checkFinite', () => {
  it.each(DTYPES)('names tensor, kind and coordinates in %s', (dtype) => {
    const size = dtype === 'F32' ? 4 : 2;
    const info = { name: 'w', dtype, shape: [2, 3, 4], file: 'f.safetensors', begin: 8, bytes: 24 * size };
    const check = (value: number) => () =>
      checkFinite(info, encodeWeights(formatOf(dtype)!, [0, value, 0]), 13 * size);
    expect(check(1)).not.toThrow();
    expect(check(Number.NaN)).toThrow(
      'f.safetensors: tensor "w": expected finite weights, found NaN at [1, 0, 2]',
    );
    expect(check(-Infinity)).toThrow('found an infinity at [1, 0, 2]');
  });

  it('passes dtypes that are not floats', () => {
    expect(firstNonFinite('I32', new Uint8Array(8).fill(255))).toBe(-1);
  });
});
