/**
 * How the reference checkpoints were quantised, as far as it follows from the weights: whole tensors, written over zeros.
 * Of FP8 and of the K-quants, whose scales were searched for, the scales are given.
 */
import { BLOCK_FORMATS } from '../../src/formats/blocks.ts';
import { numberToBf16, numberToF16 } from '../../src/tensor.ts';
import { FP8_BLOCK, numberToE4m3 } from '../../src/weights/encode/fp8.ts';

const { fround } = Math;
const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** A number as bf16 holds it. */
export function roundBf16(value: number): number {
  u32[0] = numberToBf16(value) << 16;
  return f32[0];
}

/** Ties to even. */
function nearest(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

/** Largest magnitude of the 32 weights from `begin`. */
function largest(x: Float32Array, begin: number): number {
  let most = 0;
  for (let i = begin; i < begin + 32; i++) most = Math.max(most, Math.abs(x[i]));
  return most;
}

/** e4m3 of matrices `[..., rows, cols]` by the scales of their blocks of 128 × 128. */
export function toFp8(
  x: Float32Array,
  rows: number,
  cols: number,
  scales: Float32Array,
  out: Uint8Array,
): void {
  const across = Math.ceil(cols / FP8_BLOCK);
  const down = Math.ceil(rows / FP8_BLOCK);
  for (let i = 0; i < x.length; i++) {
    const row = Math.floor(i / cols);
    const band = Math.floor(row / rows) * down + Math.floor((row % rows) / FP8_BLOCK);
    out[i] = numberToE4m3(x[i] / scales[band * across + Math.floor((i % cols) / FP8_BLOCK)]);
  }
}

/** Signed 4-bit integers, lowest first, of groups of 32 with a bf16 scale; quotients are rounded to bf16 too. */
export function toInt4(x: Float32Array, out: Uint8Array): void {
  for (let begin = 0; begin < x.length; begin += 32) {
    const scale = roundBf16(largest(x, begin) / 7.5);
    for (let i = begin; i < begin + 32; i++) {
      out[i >> 1] |= (clamp(nearest(roundBf16(x[i] / scale)), -8, 7) + 8) << (4 * (i & 1));
    }
  }
}

/** The bf16 scales of these groups. */
export function toInt4Scales(x: Float32Array, out: Uint8Array): void {
  const view = new DataView(out.buffer, out.byteOffset);
  for (let begin = 0; begin < x.length; begin += 32)
    view.setUint16(begin / 16, numberToBf16(largest(x, begin) / 7.5), true);
}

/** Q8_0: integers by the scale before it is rounded to f16; ties away from zero. */
export function toQ80(x: Float32Array, out: Uint8Array): void {
  const view = new DataView(out.buffer, out.byteOffset);
  for (let begin = 0, at = 0; begin < x.length; begin += 32, at += 34) {
    const d = fround(largest(x, begin) / 127);
    const inverse = d === 0 ? 0 : fround(1 / d);
    view.setUint16(at, numberToF16(d), true);
    for (let i = 0; i < 32; i++) {
      const value = fround(x[begin + i] * inverse);
      view.setInt8(at + 2 + i, Math.sign(value) * Math.floor(Math.abs(value) + 0.5));
    }
  }
}

/** The integers of blocks of 256, by the scales in `published`: those of Q4_K, Q5_K and Q6_K. */
export function toKQuants(
  format: 'q4_k' | 'q5_k' | 'q6_k',
  x: Float32Array,
  published: Uint8Array,
  out: Uint8Array,
): void {
  const block = BLOCK_FORMATS[format];
  const zero = format === 'q6_k' ? 32 : 0;
  const scales = new Uint8Array(32);
  const q = new Uint8Array(256);
  const affine = { scale: 0, shift: 0 };
  for (let begin = 0, at = 0; begin < x.length; begin += 256, at += block.bytes) {
    block.split(published, at, q, 0, scales);
    for (let i = 0; i < 256; i++) {
      if (i % 16 === 0) block.affine(scales, i / 16, affine);
      const [scale, shift] = [fround(affine.scale), fround(affine.shift)];
      const quotient = scale === 0 ? 0 : nearest(fround(fround(x[begin + i] - shift) / scale));
      q[i] = clamp(quotient + zero, 0, block.levels.length - 1);
    }
    const to = out.subarray(at, at + block.bytes);
    if (format === 'q6_k') joinQ6k(q, to);
    else joinQ45k(q, format === 'q5_k', to);
  }
}

function joinQ45k(q: Uint8Array, five: boolean, out: Uint8Array): void {
  const low = out.length - 128;
  for (let i = 0; i < 256; i++) {
    out[low + (i >> 6) * 32 + (i & 31)] |= (q[i] & 15) << (4 * ((i >> 5) & 1));
    if (five) out[16 + (i & 31)] |= (q[i] >> 4) << (i >> 5);
  }
}

function joinQ6k(q: Uint8Array, out: Uint8Array): void {
  for (let i = 0; i < 256; i++) {
    const [half, group, l] = [i >> 7, (i >> 5) & 3, i & 31];
    out[half * 64 + (group & 1) * 32 + l] |= (q[i] & 15) << (4 * (group >> 1));
    out[128 + half * 32 + l] |= (q[i] >> 4) << (2 * group);
  }
}
