/**
 * FP8 weights with a scale per block of 128 × 128: `<linear>.weight` in e4m3 and `<linear>.weight_scale_inv`, which
 * multiplies despite its name. Stacks of experts have stacked scales.
 */
import { show, WeightError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { FP8_BLOCK } from './encode/fp8.ts';
import { coordinates } from './finite.ts';
import { readScales } from './scales.ts';
import { type CheckpointWeight, matrixShape, type TensorData } from './tensor_data.ts';

/**
 * The weight of a tensor and its scales, `[ceil(rows / 128), ceil(cols / 128)]` per expert.
 *
 * @throws WeightError for scales of another shape or type; reading throws it for a scale that is NaN, infinite or 0,
 *   and for a weight that is NaN.
 */
export function fp8Weight(name: string, data: TensorData, scale: TensorData): CheckpointWeight {
  const { experts, rows, cols } = matrixShape(data.shape);
  const [blockRows, blockCols] = [ceilDiv(rows, FP8_BLOCK), ceilDiv(cols, FP8_BLOCK)];
  const expected = [...data.shape.slice(0, -2), blockRows, blockCols];
  if (scale.shape.join() !== expected.join()) {
    throw new WeightError(scale.file, scale.name, `shape ${show(expected)}`, show(scale.shape));
  }
  return {
    name,
    format: 'fp8',
    experts,
    rows,
    cols,
    groupCols: FP8_BLOCK,
    shape: data.shape,
    file: data.file,
    bytes: data.bytes + scale.bytes,
    readRows: async (expert, begin, end, into) => {
      const values = await data.read((expert * rows + begin) * cols, (end - begin) * cols, into);
      checkNumbers(data, values, (expert * rows + begin) * cols);
      const firstBlock = Math.floor(begin / FP8_BLOCK);
      const blocks = ceilDiv(end, FP8_BLOCK) - firstBlock;
      const from = (expert * blockRows + firstBlock) * blockCols;
      const read = await readScales(scale, from, blocks * blockCols);
      const scales = new Float32Array((end - begin) * blockCols);
      for (let row = begin; row < end; row++) {
        const block = (Math.floor(row / FP8_BLOCK) - firstBlock) * blockCols;
        scales.set(read.subarray(block, block + blockCols), (row - begin) * blockCols);
      }
      return { values, scales };
    },
  };
}

/** e4m3 has no infinities; all bits of exponent and mantissa set is NaN. */
function checkNumbers(data: TensorData, values: Uint8Array, first: number): void {
  const found = values.findIndex((byte) => (byte & 0x7f) === 0x7f);
  if (found < 0) return;
  throw new WeightError(
    data.file,
    data.name,
    'finite weights',
    `NaN at [${coordinates(data.shape, first + found).join(', ')}]`,
  );
}
