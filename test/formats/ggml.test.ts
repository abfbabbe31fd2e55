import { expect, it } from 'vitest';
import { blockFormat, decodeRow, packRows, rowBytes } from '../../src/formats/index.ts';
import { ggmlRows } from './ggml_rows.ts';

const bits = (values: Float32Array) => [...new Uint32Array(values.slice().buffer)].map((b) => b.toString(16));

it.each(ggmlRows())('$format: rows decode to the very numbers of ggml', ({ format, bytes, values }) => {
  const cols = values.length;
  const row = packRows({ format }, cols, { values: bytes }, 1);
  expect(row.length).toBe(rowBytes({ format }, cols));
  const block = blockFormat(format)!;
  // As large as in the file, but for less than 16 bytes at the end of a row.
  const fileBytes = (cols / block.cols) * block.bytes;
  expect(row.length).toBeGreaterThanOrEqual(fileBytes);
  expect(row.length).toBeLessThan(fileBytes + 16);
  const out = new Float32Array(cols);
  decodeRow({ format }, cols, row, 0, out);
  expect(bits(out)).toEqual(bits(values));
});
