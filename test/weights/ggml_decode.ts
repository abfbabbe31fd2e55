/** Blocks that the converter writes, as numbers, by the formulas of the format: plain and slow. */
import { f16ToNumber } from '../../src/tensor.ts';

const f16 = (bytes: Uint8Array, at: number) => f16ToNumber(bytes[at] | (bytes[at + 1] << 8));
const blocks = (bytes: Uint8Array, size: number) =>
  Array.from({ length: bytes.length / size }, (_, i) => bytes.subarray(i * size, (i + 1) * size));

function q80(block: Uint8Array): number[] {
  return Array.from({ length: 32 }, (_, i) => f16(block, 0) * ((block[2 + i] << 24) >> 24));
}

function q40(block: Uint8Array): number[] {
  return Array.from({ length: 32 }, (_, i) => {
    const byte = block[2 + (i % 16)];
    return f16(block, 0) * ((i < 16 ? byte & 15 : byte >> 4) - 8);
  });
}

function q4k(block: Uint8Array): number[] {
  const s = block.subarray(4, 16);
  return Array.from({ length: 256 }, (_, i) => {
    const part = Math.floor(i / 32);
    const scale = part < 4 ? s[part] & 63 : (s[part + 4] & 15) | ((s[part - 4] >> 6) << 4);
    const min = part < 4 ? s[part + 4] & 63 : (s[part + 4] >> 4) | ((s[part] >> 6) << 4);
    const byte = block[16 + Math.floor(i / 64) * 32 + (i % 32)];
    const q = part % 2 === 0 ? byte & 15 : byte >> 4;
    return f16(block, 0) * scale * q - f16(block, 2) * min;
  });
}

/** Whole blocks of Q8_0, Q4_0 or Q4_K. */
export function decodeBlocks(format: 'q8_0' | 'q4_0' | 'q4_k', bytes: Uint8Array): number[] {
  if (format === 'q4_k') return blocks(bytes, 144).flatMap(q4k);
  return format === 'q8_0' ? blocks(bytes, 34).flatMap(q80) : blocks(bytes, 18).flatMap(q40);
}
