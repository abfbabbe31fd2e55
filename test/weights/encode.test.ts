/** Encoders: exact where numbers can be kept, and closer than plain rounding where they cannot. */
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/kernels/verify.ts';
import { encodeFp8, fp8Scale, numberToE4m3, raiseMaxima } from '../../src/weights/encode/fp8.ts';
import { type EncodedFormat, encodeGgml } from '../../src/weights/encode/ggml.ts';
import { encodeInt4 } from '../../src/weights/encode/int4.ts';
import { decodeBlocks } from './ggml_decode.ts';

/** Sums of uniform numbers: bell-shaped, as weights are. */
function bell(count: number, seed: number, spread = 0.02): Float32Array<ArrayBuffer> {
  const random = seededRandom(seed);
  return Float32Array.from({ length: count }, () => {
    let sum = 0;
    for (let i = 0; i < 12; i++) sum += random();
    return spread * (sum - 6);
  });
}

/** Root of the squared error over that of the weights. */
function relative(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let [error, total] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    error += (x[i] - y[i]) ** 2;
    total += x[i] ** 2;
  }
  return Math.sqrt(error / total);
}

const e4m3 = (byte: number) => {
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  const value = exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
  return byte & 128 ? -value : value;
};

describe('e4m3', () => {
  it('every number of the format is itself, and what lies between goes to the nearer, ties to even', () => {
    for (let byte = 0; byte < 256; byte++) {
      if ((byte & 127) === 127) continue;
      expect(numberToE4m3(e4m3(byte))).toBe(byte);
      if ((byte & 127) >= 126) continue;
      const [low, high] = [e4m3(byte), e4m3(byte + 1)];
      expect(numberToE4m3(low + (high - low) * 0.49)).toBe(byte);
      expect(numberToE4m3(low + (high - low) * 0.51)).toBe(byte + 1);
      expect(numberToE4m3((low + high) / 2)).toBe(byte % 2 === 0 ? byte : byte + 1);
    }
  });

  it('cuts at 448, keeps NaN, signs and tiny numbers', () => {
    expect([449, 1e30, Infinity].map(numberToE4m3)).toEqual([0x7e, 0x7e, 0x7e]);
    expect([-1e9, -0, Number.NaN, 1e-9, -1e-9].map(numberToE4m3)).toEqual([0xfe, 0x80, 0x7f, 0, 0x80]);
  });

  it('blocks: maxima, scales, and the error of three mantissa bits', () => {
    const [rows, cols] = [100, 300];
    const x = bell(rows * cols, 3);
    const scales = new Float32Array(3);
    raiseMaxima(x, cols, scales);
    scales.set(scales.map(fp8Scale));
    const bytes = encodeFp8(x, cols, scales);
    const y = Array.from(bytes, (byte, i) => e4m3(byte) * scales[Math.floor((i % cols) / 128)]);
    expect(relative(x, y)).toBeLessThan(0.03);
    for (let i = 0; i < x.length; i++)
      expect(Math.abs(x[i] - y[i])).toBeLessThanOrEqual(Math.abs(x[i]) / 16 + 1e-6);
    expect(fp8Scale(0)).toBe(1);
    expect(fp8Scale(1e-45)).toBe(1);
  });
});

/** Scale from the largest magnitude alone, or from the least and the largest weight: the plain way. */
const PLAIN: Readonly<Record<EncodedFormat | 'int4', (x: Float32Array) => number[]>> = {
  q8_0: (x) => groups(x, (g) => g.map((v) => (Math.round((v / peak(g)) * 127) * peak(g)) / 127)),
  q4_0: (x) => groups(x, (g) => g.map((v) => (Math.round((v / peak(g)) * 7) * peak(g)) / 7)),
  int4: (x) =>
    groups(x, (g) =>
      g.map((v) => (Math.max(-8, Math.min(7, Math.round((v / peak(g)) * 7.5))) * peak(g)) / 7.5),
    ),
  q4_k: (x) =>
    groups(x, (g) => {
      const [low, high] = [Math.min(...g), Math.max(...g)];
      return g.map((v) => low + (Math.round(((v - low) / (high - low)) * 15) * (high - low)) / 15);
    }),
};
const peak = (g: readonly number[]) => Math.max(...g.map(Math.abs));
const groups = (x: Float32Array, each: (g: number[]) => number[]) =>
  Array.from({ length: x.length / 32 }, (_, i) => each([...x.subarray(32 * i, 32 * i + 32)])).flat();

function decodeInt4(x: Float32Array, cols: number): number[] {
  const { packed, scales } = encodeInt4(x, cols);
  return Array.from(x, (_, i) => {
    const q = ((packed[i >> 3] >>> (4 * (i % 8))) & 15) - 8;
    return q * new Float32Array(Uint32Array.of(scales[i >> 5] << 16).buffer)[0];
  });
}

describe('blocks', () => {
  const roundTrip = (format: EncodedFormat, x: Float32Array) => decodeBlocks(format, encodeGgml(format, x));

  it.each([
    ['q8_0', 0.006, 1.02],
    ['q4_0', 0.085, 0.96],
    ['q4_k', 0.072, 0.97],
  ] as const)('%s: relative error below %d, and below %d of plain rounding', (format, most, share) => {
    const x = bell(256 * 200, 11);
    const error = relative(x, roundTrip(format, x));
    expect(error).toBeLessThan(most);
    expect(error).toBeLessThan(share * relative(x, PLAIN[format](x)));
  });

  it('int4: likewise', () => {
    const x = bell(320 * 100, 12);
    const error = relative(x, decodeInt4(x, 320));
    expect(error).toBeLessThan(0.087);
    expect(error).toBeLessThan(0.97 * relative(x, PLAIN.int4(x)));
  });

  it.each(['q8_0', 'q4_0', 'q4_k'] as const)('%s keeps what it can hold', (format) => {
    const exact = Float32Array.from({ length: 512 }, (_, i) => (i % 32 === 5 ? -8 : ((i * 7) % 15) - 7) / 64);
    if (format !== 'q8_0')
      for (const [i, y] of roundTrip(format, exact).entries()) expect(y).toBeCloseTo(exact[i], 3);
    expect(roundTrip(format, new Float32Array(256)).every((y) => y === 0 || Object.is(y, -0))).toBe(true);
    const positive = Float32Array.from({ length: 256 }, (_, i) => 1 + (i % 16) / 16);
    expect(relative(positive, roundTrip(format, positive))).toBeLessThan(0.05);
    const one = new Float32Array(256);
    one[77] = -3;
    expect(roundTrip(format, one)[77]).toBeCloseTo(-3, 2);
    const tiny = bell(256, 5, 1e-9);
    expect(roundTrip(format, tiny).every(Number.isFinite)).toBe(true);
  });

  it('int4 of zeros has a scale', () => {
    const { scales } = encodeInt4(new Float32Array(64), 64);
    expect([...scales]).toEqual([0x3f80, 0x3f80]);
  });
});
