import { describe, expect, it } from 'vitest';
import { BLOCK_FORMATS } from '../../src/formats/blocks.ts';
import { decodeRow, isPlain, rowBytes } from '../../src/formats/index.ts';
import { bitsOf, ggmlRows } from './ggml_rows.ts';

const ROWS = await ggmlRows();

it('rows of every block format are there', () => {
  const formats = ROWS.map(({ format }) => format).filter((format) => !isPlain(format));
  expect(formats.sort()).toEqual(Object.keys(BLOCK_FORMATS).sort());
});

describe.each(ROWS)('$format', ({ format, rows, cols, fileBytes, packed, values }) => {
  const each = rowBytes({ format }, cols);

  it('rows decode to the very numbers of ggml', () => {
    const out = new Float32Array(rows * cols);
    for (let r = 0; r < rows; r++) {
      decodeRow({ format }, cols, packed, r * each, out.subarray(r * cols, (r + 1) * cols));
    }
    expect(bitsOf(out)).toEqual(bitsOf(values));
  });

  it('rows are as large as in the file, but for less than 16 bytes at the end', () => {
    expect(packed.length).toBe(rows * each);
    expect(each).toBeGreaterThanOrEqual(fileBytes);
    expect(each).toBeLessThan(fileBytes + 16);
  });
});
