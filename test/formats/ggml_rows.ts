/** One row of every block type with the numbers that ggml's own code makes of it. */
import { readFileSync } from 'node:fs';
import type { WeightFormat } from '../../src/tensor.ts';

const FILE = new URL('../fixtures/ggml-blocks/blocks.safetensors', import.meta.url);

export interface GgmlRow {
  readonly format: WeightFormat;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly values: Float32Array<ArrayBuffer>;
}

export function ggmlRows(): GgmlRow[] {
  const file = readFileSync(FILE);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + length));
  const part = (name: string) => {
    const [begin, end] = header[name].data_offsets;
    return new Uint8Array(file.subarray(8 + length + begin, 8 + length + end));
  };
  return Object.keys(header)
    .filter((name) => name.endsWith('.bytes'))
    .map((name) => {
      const type = name.slice(0, -'.bytes'.length);
      return {
        format: type.toLowerCase() as WeightFormat,
        bytes: part(name),
        values: new Float32Array(part(`${type}.f32`).buffer),
      };
    });
}
