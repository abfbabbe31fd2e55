/** Stored weights as numbers. */
import { WeightError } from '../errors.ts';
import { decodeWeights, isPlain } from '../tensor.ts';
import type { CheckpointWeight } from './tensor_data.ts';

/**
 * Rows [begin, end) of one expert, `[end - begin, cols]`.
 *
 * @throws WeightError for a weight that is quantised already, and as reading does.
 */
export async function readFloats(
  weight: CheckpointWeight,
  expert: number,
  begin: number,
  end: number,
): Promise<Float32Array<ArrayBuffer>> {
  const { format, file, name, cols } = weight;
  if (!isPlain(format)) throw new WeightError(file, name, 'f32, f16 or bf16', format);
  const { values } = await weight.readRows(expert, begin, end);
  const out = new Float32Array((end - begin) * cols);
  decodeWeights(format, values, 0, out.length, out);
  return out;
}

/** Bytes of 32-bit floats that are in memory at a time. */
const BAND_BYTES = 2 ** 24;

/** All rows of all experts in bands of whole multiples of `multiple` rows (but for the last of each expert). */
export async function* floatBands(
  weight: CheckpointWeight,
  multiple = 1,
): AsyncGenerator<{ expert: number; begin: number; end: number; values: Float32Array<ArrayBuffer> }> {
  const { experts, rows, cols } = weight;
  const each = Math.max(1, Math.floor(BAND_BYTES / (4 * cols * multiple))) * multiple;
  for (let expert = 0; expert < experts; expert++) {
    for (let begin = 0; begin < rows; begin += each) {
      const end = Math.min(rows, begin + each);
      yield { expert, begin, end, values: await readFloats(weight, expert, begin, end) };
    }
  }
}
