/**
 * 4-bit weights in the `gemm` layout of AutoAWQ, input by output: `qweight` I32 [cols, rows / 8] holds eight outputs a
 * word in the order 0, 2, 4, 6, 1, 3, 5, 7 from the lowest bits up, `qzeros` I32 [groups, rows / 8] likewise, `scales`
 * F16 [groups, rows]. A weight is `(value - zero) * scale`. Rows are the outputs, so all of it is transposed.
 */
import { WeightError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { readScales } from './scales.ts';
import type { StoredRows } from './stored.ts';
import { expectShape, expectTensor } from './stored_int4.ts';
import type { CheckpointWeight, TensorData } from './tensor_data.ts';

/** Which output of a word's eight stands in each nibble, from the lowest bits up. */
const ORDER = [0, 2, 4, 6, 1, 3, 5, 7];

/** Nibble of each output of a word. */
const SHIFTS = ORDER.map((_, output) => 4 * ORDER.indexOf(output));

/** Most bytes of `qweight` that are read at once. */
const READ_BYTES = 2 ** 24;

/** The tensors of one matrix. */
export interface AwqTensors {
  readonly qweight: TensorData;
  readonly scales: TensorData;
  /** Absent when all zero points are 8. */
  readonly qzeros?: TensorData | undefined;
}

/**
 * The matrix `[rows, cols]` that is packed in these tensors. Rows stand far apart in the file, so the first read
 * transposes the whole matrix; it is kept until its last row has been read.
 *
 * @throws WeightError for shapes or types that do not fit; reading throws it for a scale that is NaN, infinite or 0.
 */
export function awqWeight(
  name: string,
  [rows, cols]: readonly [number, number],
  groupCols: number,
  tensors: AwqTensors,
): CheckpointWeight {
  const { qweight, scales, qzeros } = tensors;
  const groups = ceilDiv(cols, groupCols);
  if (rows % 8 !== 0) {
    throw new WeightError(qweight.file, qweight.name, 'outputs in eights', `${rows} outputs`);
  }
  expectTensor(qweight, 'I32', [cols, rows / 8]);
  expectShape(scales, [groups, rows]);
  if (qzeros !== undefined) expectTensor(qzeros, 'I32', [groups, rows / 8]);
  let whole: Promise<Required<StoredRows>> | undefined;
  return {
    name,
    format: 'int4',
    experts: 1,
    rows,
    cols,
    groupCols,
    shape: [rows, cols],
    file: qweight.file,
    bytes: qweight.bytes + scales.bytes + (qzeros?.bytes ?? 0),
    readRows: async (_, begin, end) => {
      whole ??= transpose(rows, cols, groups, tensors);
      const all = await whole.catch((error: unknown) => {
        whole = undefined;
        throw error;
      });
      if (end === rows) whole = undefined;
      const rowBytes = ceilDiv(cols, 2);
      return {
        values: all.values.slice(begin * rowBytes, end * rowBytes),
        scales: all.scales.slice(begin * groups, end * groups),
        zeros: all.zeros.slice(begin * groups, end * groups),
      };
    },
  };
}

async function transpose(
  rows: number,
  cols: number,
  groups: number,
  { qweight, scales, qzeros }: AwqTensors,
): Promise<Required<StoredRows>> {
  const words = rows / 8;
  const rowBytes = ceilDiv(cols, 2);
  const values = new Uint8Array(rows * rowBytes);
  const columnsEach = Math.max(1, Math.floor(READ_BYTES / (words * 4)));
  for (let first = 0; first < cols; first += columnsEach) {
    const count = Math.min(columnsEach, cols - first);
    const read = new Uint32Array((await qweight.read(first * words * 4, count * words * 4)).buffer);
    for (let c = 0; c < count; c++) {
      const col = first + c;
      const shift = col % 2 === 0 ? 0 : 4;
      for (let row = 0; row < rows; row++) {
        const value = (read[c * words + (row >>> 3)] >>> SHIFTS[row & 7]) & 15;
        values[row * rowBytes + (col >>> 1)] |= value << shift;
      }
    }
  }
  const zeros = new Uint8Array(rows * groups).fill(8);
  if (qzeros !== undefined) {
    const read = new Uint32Array((await qzeros.read(0, qzeros.bytes)).buffer);
    for (let row = 0; row < rows; row++) {
      for (let g = 0; g < groups; g++) {
        zeros[row * groups + g] = (read[g * words + (row >>> 3)] >>> SHIFTS[row & 7]) & 15;
      }
    }
  }
  const byGroup = await readScales(scales, 0, groups * rows);
  const byRow = new Float32Array(rows * groups);
  for (let row = 0; row < rows; row++) {
    for (let g = 0; g < groups; g++) byRow[row * groups + g] = byGroup[g * rows + row];
  }
  return { values, scales: byRow, zeros };
}
