/** Seeded rows in any format, for tests and benchmarks. */
import { numberToF16 } from '../tensor.ts';
import { blockFormat, type FileRows, packRows, type RowFormat } from './index.ts';

/**
 * `count` rows of a compressed format as they lie on the device, of weights up to about `amplitude`; `random` gives
 * numbers in [0, 1).
 */
export function randomRows(
  row: RowFormat,
  cols: number,
  count: number,
  amplitude: number,
  random: () => number,
): Uint8Array<ArrayBuffer> {
  return packRows(row, cols, randomFileRows(row, cols, count, amplitude, random), count);
}

/** The same in the form of files. */
export function randomFileRows(
  row: RowFormat,
  cols: number,
  count: number,
  amplitude: number,
  random: () => number,
): FileRows {
  const block = blockFormat(row.format);
  if (block !== undefined) {
    const blocks = (count * cols) / block.cols;
    const values = Uint8Array.from({ length: blocks * block.bytes }, () => random() * 256);
    for (let at = 0; at < values.length; at += block.bytes) {
      // The only format without f16 scales has an exponent; its largest level is 6 (12 halves).
      if (block.halves.length === 0)
        values[at] = 127 + Math.floor(Math.log2(amplitude / 6)) - Math.floor(random() * 3);
      for (const [offset, reach] of block.halves) {
        const half = numberToF16((amplitude / reach) * (0.5 + random() / 2));
        values[at + offset] = half & 255;
        values[at + offset + 1] = half >>> 8;
      }
    }
    return { values };
  }
  const groups = count * Math.ceil(cols / Math.min(row.group ?? cols, cols));
  if (row.format === 'fp8') {
    // Exponents of all sizes, subnormals among them, but no NaN.
    const values = Uint8Array.from({ length: count * cols }, () => {
      const byte = Math.floor(random() * 256);
      return (byte & 0x7f) === 0x7f ? byte ^ 1 : byte;
    });
    return {
      values,
      scales: Float32Array.from({ length: groups }, () => (amplitude / 448) * (0.5 + random() / 2)),
    };
  }
  return {
    values: Uint8Array.from({ length: count * Math.ceil(cols / 2) }, () => random() * 256),
    scales: Float32Array.from({ length: groups }, () => (amplitude / 16) * (0.5 + random() / 2)),
    zeros: Uint8Array.from({ length: groups }, () => random() * 16),
  };
}
