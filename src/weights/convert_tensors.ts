/** The tensors of a converted safetensors checkpoint: each weight as what its new format needs, made as it is written. */
import { WeightError } from '../errors.ts';
import { ceilDiv, encodeWeights, isPlain, PLAIN_BYTES, type WeightFormat } from '../tensor.ts';
import { encodeFp8, FP8_BLOCK, fp8Scale, raiseMaxima } from './encode/fp8.ts';
import { encodeInt4, INT4_GROUP } from './encode/int4.ts';
import { floatBands, readFloats } from './floats.ts';
import { dtypeOf } from './stored_blocks.ts';
import type { CheckpointWeight } from './tensor_data.ts';
import type { TensorToWrite } from './writer_node.ts';

/** Tensors that belong into one file. */
export interface WriteUnit {
  readonly tensors: readonly TensorToWrite[];
  readonly bytes: number;
}

/**
 * The tensors that hold `weight` in `format`. They must be written in the order wide elements first, as
 * `writeSafetensors` does: scales of FP8 before the weights they scale, packed integers before theirs.
 */
export function convertedTensors(weight: CheckpointWeight, format: WeightFormat): WriteUnit {
  if (format === 'fp8') return fp8Tensors(weight);
  if (format === 'int4') return int4Tensors(weight);
  const { name, shape } = weight;
  if (!isPlain(format)) throw new WeightError(weight.file, name, 'a format of safetensors', format);
  const pieces = async function* () {
    for await (const { values } of floatBands(weight)) yield encodeWeights(format, values);
  };
  const bytes = weight.experts * weight.rows * weight.cols * PLAIN_BYTES[format];
  return { tensors: [{ name, shape, dtype: dtypeOf(format), pieces }], bytes };
}

function fp8Tensors(weight: CheckpointWeight): WriteUnit {
  const { name, shape, experts, rows, cols } = weight;
  const [blockRows, blockCols] = [ceilDiv(rows, FP8_BLOCK), ceilDiv(cols, FP8_BLOCK)];
  const scales = new Float32Array(experts * blockRows * blockCols);
  const place = (expert: number, row: number) => {
    const at = (expert * blockRows + Math.floor(row / FP8_BLOCK)) * blockCols;
    return scales.subarray(at, at + blockCols);
  };
  const scalePieces = async function* () {
    for await (const { expert, begin, block } of blockBands(weight))
      raiseMaxima(block, cols, place(expert, begin));
    scales.forEach((maximum, i) => {
      scales[i] = fp8Scale(maximum);
    });
    yield new Uint8Array(scales.buffer);
  };
  const pieces = async function* () {
    for await (const { expert, begin, block } of blockBands(weight)) {
      yield encodeFp8(block, cols, place(expert, begin));
    }
  };
  const scaleShape = [...shape.slice(0, -2), blockRows, blockCols];
  return {
    tensors: [
      { name, shape, dtype: 'F8_E4M3', pieces },
      { name: `${name}_scale_inv`, shape: scaleShape, dtype: 'F32', pieces: scalePieces },
    ],
    bytes: experts * rows * cols + scales.byteLength,
  };
}

/** Bands of at most 128 rows, none across two rows of blocks. */
async function* blockBands(
  weight: CheckpointWeight,
): AsyncGenerator<{ expert: number; begin: number; block: Float32Array }> {
  const step = FP8_BLOCK * weight.cols;
  for await (const { expert, begin, values } of floatBands(weight, FP8_BLOCK)) {
    for (let at = 0; at < values.length; at += step) {
      yield { expert, begin: begin + at / weight.cols, block: values.subarray(at, at + step) };
    }
  }
}

/** Experts apart, as in the published 4-bit checkpoints. */
function int4Tensors(weight: CheckpointWeight): WriteUnit {
  const { name, shape, experts, rows, cols } = weight;
  const module = name.replace(/\.weight$/, '');
  const tensors = Array.from({ length: experts }, (_, expert) => {
    const one = shape.length === 3 ? module.replace(/\.([^.]+)$/, `.experts.${expert}.$1`) : module;
    return int4Matrix(weight, expert, one);
  }).flat();
  const bytes = experts * (rows * cols * (1 / 2 + 2 / INT4_GROUP) + 16);
  return { tensors, bytes };
}

function int4Matrix(weight: CheckpointWeight, expert: number, module: string): TensorToWrite[] {
  const { rows, cols } = weight;
  // Scales fall out of the packing; they are kept until they are written.
  const bands: Uint8Array[] = [];
  const each = Math.max(1, Math.floor(2 ** 22 / cols));
  const packed = async function* () {
    for (let begin = 0; begin < rows; begin += each) {
      const values = await readFloats(weight, expert, begin, Math.min(rows, begin + each));
      const encoded = encodeInt4(values, cols);
      bands.push(new Uint8Array(encoded.scales.buffer));
      yield new Uint8Array(encoded.packed.buffer);
    }
  };
  return [
    { name: `${module}.weight_packed`, dtype: 'I32', shape: [rows, cols / 8], pieces: packed },
    {
      name: `${module}.weight_scale`,
      dtype: 'BF16',
      shape: [rows, cols / INT4_GROUP],
      pieces: () => bands.splice(0),
    },
    {
      name: `${module}.weight_shape`,
      dtype: 'I64',
      shape: [2],
      pieces: () => [new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(cols)).buffer)],
    },
  ];
}
