/**
 * 4-bit weights in the `pack-quantized` layout of compressed-tensors: `weight_packed` I32 [rows, ceil(cols / 8)] holds
 * eight values a word, the first in the lowest bits, each stored with 8 added; `weight_scale` [rows, groups];
 * `weight_zero_point` I32 [ceil(rows / 8), groups] packed along the rows in the same way, absent when symmetric;
 * `weight_shape` I64 [2]. Unsigned as they stand, a weight is `(value - zero) * scale`, with zero 8 when symmetric.
 */
import { show, WeightError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { readScales } from './scales.ts';
import type { CheckpointWeight, TensorData } from './tensor_data.ts';

/** Zero point of symmetric weights. */
const SYMMETRIC_ZERO = 8;

/** The tensors of one packed matrix. */
export interface PackedTensors {
  readonly packed: TensorData;
  readonly scale: TensorData;
  readonly zero?: TensorData | undefined;
  readonly shape?: TensorData | undefined;
}

/**
 * The matrix `[rows, cols]` that is packed in these tensors.
 *
 * @throws WeightError for shapes or types that do not fit; reading throws it for a scale that is NaN, infinite or 0, and
 *   for a `weight_shape` other than `[rows, cols]`.
 */
export function packedWeight(
  name: string,
  [rows, cols]: readonly [number, number],
  groupCols: number,
  { packed, scale, zero, shape }: PackedTensors,
): CheckpointWeight {
  const groups = ceilDiv(cols, groupCols);
  expectTensor(packed, 'I32', [rows, ceilDiv(cols, 8)]);
  expectShape(scale, [rows, groups]);
  if (zero !== undefined) expectTensor(zero, 'I32', [ceilDiv(rows, 8), groups]);
  if (shape !== undefined) expectTensor(shape, 'I64', [2]);
  const wordBytes = ceilDiv(cols, 8) * 4;
  const rowBytes = ceilDiv(cols, 2);
  let checked = shape === undefined;
  return {
    name,
    format: 'int4',
    experts: 1,
    rows,
    cols,
    groupCols,
    shape: [rows, cols],
    file: packed.file,
    bytes: [packed, scale, zero, shape].reduce((sum, part) => sum + (part?.bytes ?? 0), 0),
    readRows: async (_, begin, end, into) => {
      if (!checked && shape !== undefined) await checkShape(shape, rows, cols);
      checked = true;
      const count = end - begin;
      const words = await packed.read(begin * wordBytes, count * wordBytes, into);
      const scales = await readScales(scale, begin * groups, count * groups);
      const zeros = new Uint8Array(count * groups).fill(SYMMETRIC_ZERO);
      if (zero !== undefined) await readZeros(zero, groups, begin, end, zeros);
      return { values: cutRows(words, count, wordBytes, rowBytes), scales, zeros };
    },
  };
}

/** Rows without the padding of their last word; little-endian words hold the nibbles in the order that is wanted. */
function cutRows(
  words: Uint8Array<ArrayBuffer>,
  rows: number,
  from: number,
  to: number,
): Uint8Array<ArrayBuffer> {
  if (from === to) return words;
  const values = new Uint8Array(rows * to);
  for (let row = 0; row < rows; row++) values.set(words.subarray(row * from, row * from + to), row * to);
  return values;
}

async function readZeros(
  zero: TensorData,
  groups: number,
  begin: number,
  end: number,
  out: Uint8Array,
): Promise<void> {
  const first = Math.floor(begin / 8);
  const bytes = await zero.read(first * groups * 4, (ceilDiv(end, 8) - first) * groups * 4);
  const words = new Uint32Array(bytes.buffer);
  for (let row = begin; row < end; row++) {
    const at = (Math.floor(row / 8) - first) * groups;
    for (let group = 0; group < groups; group++) {
      out[(row - begin) * groups + group] = (words[at + group] >>> (4 * (row % 8))) & 15;
    }
  }
}

async function checkShape(shape: TensorData, rows: number, cols: number): Promise<void> {
  const found = [...new BigInt64Array((await shape.read(0, 16)).buffer)].map(Number);
  if (found[0] === rows && found[1] === cols) return;
  throw new WeightError(shape.file, shape.name, `the values ${show([rows, cols])}`, show(found));
}

/** Throws WeightError unless the tensor has this dtype and shape. */
export function expectTensor(data: TensorData, dtype: string, shape: readonly number[]): void {
  if (data.dtype !== dtype) throw new WeightError(data.file, data.name, `dtype ${dtype}`, data.dtype);
  expectShape(data, shape);
}

/** Throws WeightError unless the tensor has this shape. */
export function expectShape(data: TensorData, shape: readonly number[]): void {
  if (data.shape.join() === shape.join()) return;
  throw new WeightError(data.file, data.name, `shape ${show(shape)}`, show(data.shape));
}
