/** Rows of every block type with the numbers that ggml's own code makes of them; see test/fixtures/README.md. */
import { packRows } from '../../src/formats/index.ts';
import { isPlain, type WeightFormat } from '../../src/tensor.ts';
import { readTensors } from '../golden.ts';

export interface GgmlRows {
  readonly format: WeightFormat;
  readonly rows: number;
  readonly cols: number;
  /** Of a row in a file. */
  readonly fileBytes: number;
  /** The rows as they lie on the device. */
  readonly packed: Uint8Array<ArrayBuffer>;
  /** [rows, cols] */
  readonly values: Float32Array<ArrayBuffer>;
}

export async function ggmlRows(): Promise<GgmlRows[]> {
  const tensors = await readTensors('ggml-blocks/blocks.safetensors');
  return tensors.names
    .filter((name) => name.endsWith('.bytes'))
    .map((name) => {
      const type = name.slice(0, -'.bytes'.length);
      const [rows, cols] = tensors.shape(`${type}.f32`);
      const format = type.toLowerCase() as WeightFormat;
      const bytes = tensors.bytes(name);
      const packed = isPlain(format) ? bytes : packRows({ format }, cols, { values: bytes }, rows);
      const values = tensors.f32(`${type}.f32`);
      return { format, rows, cols, fileBytes: bytes.length / rows, packed, values };
    });
}

/** Bit patterns, so that 0 and -0 differ. */
export function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.slice().buffer);
}
