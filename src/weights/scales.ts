/** Scales of quantised weights: read as f32, and checked, since a bad one spoils a whole block. */
import { WeightError } from '../errors.ts';
import { DTYPE_BYTES, type DType, decodeWeights, formatOf } from '../tensor.ts';
import { coordinates } from './finite.ts';
import type { TensorData } from './tensor_data.ts';

/**
 * `count` scales of a tensor from element `first`.
 *
 * @throws WeightError for a dtype other than F32, F16 and BF16, and for a scale that is NaN, infinite or 0.
 */
export async function readScales(
  scale: TensorData,
  first: number,
  count: number,
): Promise<Float32Array<ArrayBuffer>> {
  const dtype = scale.dtype as DType;
  const format = formatOf(dtype);
  if (format === undefined) {
    throw new WeightError(scale.file, scale.name, 'scales of dtype F32, F16 or BF16', scale.dtype);
  }
  const size = DTYPE_BYTES[dtype];
  const bytes = await scale.read(first * size, count * size);
  const values = new Float32Array(count);
  decodeWeights(format, bytes, 0, count, values);
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (Number.isFinite(value) && value !== 0) continue;
    const at = coordinates(scale.shape, first + i).join(', ');
    throw new WeightError(scale.file, scale.name, 'finite scales other than 0', `${value} at [${at}]`);
  }
  return values;
}
