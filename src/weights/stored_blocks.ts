/** Weights that stand in a file as rows of floats, or of ggml blocks that hold their own scales. */
import { WeightError } from '../errors.ts';
import { DTYPE_BYTES, type DType, formatOf, type PlainFormat } from '../tensor.ts';
import { checkFinite } from './finite.ts';
import type { GgmlType } from './ggml_types.ts';
import { type CheckpointWeight, matrixShape, type TensorData } from './tensor_data.ts';

const DTYPES: Readonly<Record<PlainFormat, DType>> = { f32: 'F32', f16: 'F16', bf16: 'BF16' };

/** The safetensors name of a plain format. */
export function dtypeOf(format: PlainFormat): DType {
  return DTYPES[format];
}

/**
 * A tensor of F32, F16 or BF16 under the name that layouts use; undefined for any other dtype. Reading throws
 * WeightError for a NaN or an infinity.
 */
export function plainWeight(name: string, data: TensorData): CheckpointWeight | undefined {
  const dtype = data.dtype as DType;
  const format = formatOf(dtype);
  if (format === undefined) return undefined;
  const { experts, rows, cols } = matrixShape(data.shape);
  const rowBytes = cols * DTYPE_BYTES[dtype];
  return {
    name,
    format,
    experts,
    rows,
    cols,
    shape: data.shape,
    file: data.file,
    bytes: data.bytes,
    readRows: async (expert, begin, end, into) => {
      const from = (expert * rows + begin) * rowBytes;
      const values = await data.read(from, (end - begin) * rowBytes, into);
      checkFinite({ name: data.name, file: data.file, dtype, shape: data.shape }, values, from);
      return { values };
    },
  };
}

/** A tensor of ggml blocks. Reading throws WeightError for a block whose scale is NaN or infinite. */
export function ggmlWeight(name: string, data: TensorData, type: GgmlType): CheckpointWeight {
  const { experts, rows, cols } = matrixShape(data.shape);
  const rowBytes = (cols / type.elements) * type.bytes;
  return {
    name,
    format: type.format,
    experts,
    rows,
    cols,
    shape: data.shape,
    file: data.file,
    bytes: data.bytes,
    readRows: async (expert, begin, end, into) => {
      const firstRow = expert * rows + begin;
      const values = await data.read(firstRow * rowBytes, (end - begin) * rowBytes, into);
      const damaged = damagedBlock(type, values);
      if (damaged >= 0) {
        const perRow = cols / type.elements;
        const row = begin + Math.floor(damaged / perRow);
        const at = [...(experts > 1 ? [expert] : []), row, (damaged % perRow) * type.elements];
        throw new WeightError(
          data.file,
          data.name,
          `finite scales of ${type.format} blocks`,
          `NaN or an infinity in the block at [${at.join(', ')}]`,
        );
      }
      return { values };
    },
  };
}

/** Index of the first block with a scale that is NaN or infinite, or -1. */
function damagedBlock(type: GgmlType, bytes: Uint8Array): number {
  const { scales, bytes: size } = type;
  if (type.format === 'mxfp4') {
    for (let at = 0; at < bytes.length; at += size) if (bytes[at] === 0xff) return at / size;
    return -1;
  }
  for (const offset of scales) {
    // The high byte of an f16: exponent bits all set.
    for (let at = offset + 1; at < bytes.length; at += size) {
      if ((bytes[at] & 0x7c) === 0x7c) return Math.floor(at / size);
    }
  }
  return -1;
}
