/** Rows of weights as ggml blocks: Q8_0, Q4_0, Q4_K. Layouts: ggml's `ggml-common.h`. */
import { f16ToNumber, numberToF16 } from '../../tensor.ts';
import { encodeQ4k } from './q4_k.ts';
import { quantum, searchScale } from './search.ts';

/** Formats that {@link encodeGgml} writes. */
export type EncodedFormat = 'q8_0' | 'q4_0' | 'q4_k';

const BLOCK = 32;

/** Whole rows of weights as blocks; rows are a multiple of the block (32, of Q4_K 256). */
export function encodeGgml(format: EncodedFormat, values: Float32Array): Uint8Array<ArrayBuffer> {
  if (format === 'q4_k') return encodeQ4k(values);
  return format === 'q8_0' ? encodeQ80(values) : encodeQ40(values);
}

/** 32 signed bytes after an f16 scale. */
function encodeQ80(values: Float32Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array((values.length / BLOCK) * 34);
  const view = new DataView(out.buffer);
  for (let begin = 0, at = 0; begin < values.length; begin += BLOCK, at += 34) {
    let largest = 0;
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[begin + i]));
    const bits = numberToF16(largest / 127);
    const d = f16ToNumber(bits);
    view.setUint16(at, bits, true);
    for (let i = 0; i < BLOCK; i++) {
      const q = d === 0 ? 0 : Math.max(-127, Math.min(127, Math.round(values[begin + i] / d)));
      view.setInt8(at + 2 + i, q);
    }
  }
  return out;
}

/** An f16 scale, then 16 bytes: weight i in the low half of byte i, weight i + 16 in the high half, 8 added. */
function encodeQ40(values: Float32Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array((values.length / BLOCK) * 18);
  const view = new DataView(out.buffer);
  for (let begin = 0, at = 0; begin < values.length; begin += BLOCK, at += 18) {
    const d = searchScale(values, begin, BLOCK, true, roundF16);
    view.setUint16(at, numberToF16(d), true);
    const inverse = d === 0 ? 0 : 1 / d;
    for (let i = 0; i < BLOCK / 2; i++) {
      const low = quantum(values[begin + i], inverse) + 8;
      const high = quantum(values[begin + i + 16], inverse) + 8;
      out[at + 2 + i] = low | (high << 4);
    }
  }
  return out;
}

/** A number as an f16 holds it. */
export function roundF16(value: number): number {
  return f16ToNumber(numberToF16(value));
}
