/**
 * Finds the tensors that make up a weight in a safetensors checkpoint, whichever way they are quantised: plain, FP8 with
 * block scales, packed 4 bits, AutoAWQ; experts stacked in one tensor or apart, one set of tensors each.
 */
import type { Int4Quantization, Quantization } from '../config/index.ts';
import { show, WeightError } from '../errors.ts';
import { awqWeight } from './stored_awq.ts';
import { plainWeight } from './stored_blocks.ts';
import { fp8Weight } from './stored_fp8.ts';
import { packedWeight } from './stored_int4.ts';
import type { CheckpointWeight, TensorData } from './tensor_data.ts';

/** A weight that a configuration asks for. */
interface Wanted {
  readonly name: string;
  readonly shape: readonly number[];
}

/** A weight, and the names of the tensors it is made of. */
export interface FoundWeight {
  readonly weight: CheckpointWeight;
  readonly used: readonly string[];
}

const WEIGHT = '.weight';

/** Ends of a module's tensors that show that it is there. */
const MAIN = [WEIGHT, '.weight_packed', '.qweight'];

/**
 * The weight called `name`, or undefined when there is no tensor of it.
 *
 * @throws WeightError when its tensors are incomplete, of another shape or dtype than asked for, or quantised in a way
 *   that the configuration does not say.
 */
export function findWeight(
  { name, shape }: Wanted,
  tensors: ReadonlyMap<string, TensorData>,
  quantization: Quantization | undefined,
): FoundWeight | undefined {
  const finder = new Finder(tensors, quantization);
  if (!name.endsWith(WEIGHT)) return finder.plain(name, name, shape);
  const module = name.slice(0, -WEIGHT.length);
  return finder.module(name, module, shape) ?? finder.expertsApart(name, module, shape);
}

class Finder {
  readonly #tensors: ReadonlyMap<string, TensorData>;
  readonly #quantization: Quantization | undefined;

  constructor(tensors: ReadonlyMap<string, TensorData>, quantization: Quantization | undefined) {
    this.#tensors = tensors;
    this.#quantization = quantization;
  }

  plain(name: string, tensor: string, shape: readonly number[]): FoundWeight | undefined {
    const data = this.#tensors.get(tensor);
    if (data === undefined) return undefined;
    checkShape(data, shape);
    const weight = plainWeight(name, data);
    if (weight === undefined) {
      throw new WeightError(
        data.file,
        tensor,
        'dtype F32, F16 or BF16',
        `${data.dtype}, which is not supported`,
      );
    }
    return { weight, used: [tensor] };
  }

  /** The weight of one module, e.g. `model.layers.3.self_attn.q_proj`. */
  module(name: string, module: string, shape: readonly number[]): FoundWeight | undefined {
    const data = this.#tensors.get(module + WEIGHT);
    if (data?.dtype === 'F8_E4M3') return this.#fp8(name, module, data, shape);
    if (data !== undefined) return this.plain(name, module + WEIGHT, shape);
    const packed = this.#tensors.get(`${module}.weight_packed`);
    if (packed !== undefined) return this.#packed(name, module, packed, shape);
    const qweight = this.#tensors.get(`${module}.qweight`);
    return qweight === undefined ? undefined : this.#awq(name, module, qweight, shape);
  }

  /**
   * Experts that the file keeps apart, as one stack: `P.moe.gate_proj` from `P.moe.experts.E.gate_proj` or, as older
   * files have it, `P.moe.E.gate_proj`.
   */
  expertsApart(name: string, module: string, shape: readonly number[]): FoundWeight | undefined {
    const dot = module.lastIndexOf('.');
    const [parent, proj] = [module.slice(0, dot), module.slice(dot + 1)];
    const first = ['experts.0.', '0.'].find((at) =>
      MAIN.some((end) => this.#tensors.has(`${parent}.${at}${proj}${end}`)),
    );
    if (first === undefined || shape.length !== 3) return undefined;
    const found = Array.from({ length: shape[0] }, (_, expert) => {
      const one = `${parent}.${first.replace('0', String(expert))}${proj}`;
      const part = this.module(`${one}.weight`, one, shape.slice(1));
      if (part !== undefined) return part;
      throw missing(this.#anyOf(`${parent}.${first}${proj}`), `${one}.weight`);
    });
    return {
      weight: stack(
        name,
        found.map(({ weight }) => weight),
      ),
      used: found.flatMap(({ used }) => used),
    };
  }

  #fp8(name: string, module: string, data: TensorData, shape: readonly number[]): FoundWeight {
    this.#checkMethod('fp8', module, data);
    checkShape(data, shape);
    if (shape.length < 2) throw new WeightError(data.file, data.name, 'a matrix in FP8', show(shape));
    const scale = this.#part(`${module}.weight_scale_inv`, data);
    return { weight: fp8Weight(name, data, scale), used: [data.name, scale.name] };
  }

  #packed(name: string, module: string, packed: TensorData, shape: readonly number[]): FoundWeight {
    const { groupSize, symmetric } = this.#int4('pack-quantized', module, packed);
    const scale = this.#part(`${module}.weight_scale`, packed);
    const zeroName = `${module}.weight_zero_point`;
    const zero = symmetric ? undefined : this.#part(zeroName, packed);
    const weightShape = this.#tensors.get(`${module}.weight_shape`);
    const parts = { packed, scale, zero, shape: weightShape };
    const weight = packedWeight(name, matrix(packed, shape), groupSize, parts);
    return { weight, used: names(packed, scale, zero, weightShape) };
  }

  #awq(name: string, module: string, qweight: TensorData, shape: readonly number[]): FoundWeight {
    const { groupSize, symmetric } = this.#int4('awq', module, qweight);
    const scales = this.#part(`${module}.scales`, qweight);
    // Files without zero points may still hold the tensor, all of them 8.
    const held = this.#tensors.get(`${module}.qzeros`);
    const qzeros = symmetric ? held : this.#part(`${module}.qzeros`, qweight);
    const weight = awqWeight(name, matrix(qweight, shape), groupSize, { qweight, scales, qzeros });
    return { weight, used: names(qweight, scales, qzeros) };
  }

  /** The configuration must describe the quantisation that the tensors have, and not list the module as left out. */
  #checkMethod(method: Quantization['method'], module: string, data: TensorData): Quantization {
    const quantization = this.#quantization;
    if (quantization?.method !== method) {
      const expected =
        quantization === undefined
          ? 'dtype F32, F16 or BF16, as config.json has no quantization_config'
          : `${quantization.method} weights, as config.json says`;
      throw new WeightError(data.file, data.name, expected, `${data.dtype} of ${method} weights`);
    }
    if (quantization.ignore.includes(module)) {
      throw new WeightError(
        data.file,
        data.name,
        'dtype F32, F16 or BF16, as config.json leaves this module out',
        data.dtype,
      );
    }
    return quantization;
  }

  #int4(method: Int4Quantization['method'], module: string, data: TensorData): Int4Quantization {
    return this.#checkMethod(method, module, data) as Int4Quantization;
  }

  #part(name: string, beside: TensorData): TensorData {
    const part = this.#tensors.get(name);
    if (part === undefined) throw missing(beside, name);
    return part;
  }

  /** A tensor of a module. */
  #anyOf(module: string): TensorData | undefined {
    return MAIN.map((end) => this.#tensors.get(module + end)).find((data) => data !== undefined);
  }
}

function missing(beside: TensorData | undefined, name: string): WeightError {
  const file = beside?.file ?? 'the checkpoint';
  return new WeightError(file, name, `this tensor beside ${beside?.name ?? 'others'}`, 'no such tensor');
}

/** One weight of all experts' weights, which must be stored alike. */
function stack(name: string, experts: readonly CheckpointWeight[]): CheckpointWeight {
  const [first] = experts;
  for (const { file, name: one, format, groupCols } of experts) {
    if (format === first.format && groupCols === first.groupCols) continue;
    throw new WeightError(file, one, `${first.format}, as expert 0`, format);
  }
  return {
    ...first,
    name,
    experts: experts.length,
    shape: [experts.length, ...first.shape],
    bytes: experts.reduce((sum, { bytes }) => sum + bytes, 0),
    readRows: (expert, begin, end, into) => experts[expert].readRows(0, begin, end, into),
  };
}

function matrix(data: TensorData, shape: readonly number[]): [number, number] {
  if (shape.length !== 2)
    throw new WeightError(data.file, data.name, `shape ${show(shape)}`, 'one packed matrix');
  return [shape[0], shape[1]];
}

function names(...parts: readonly (TensorData | undefined)[]): string[] {
  return parts.flatMap((part) => (part === undefined ? [] : [part.name]));
}

function checkShape(data: TensorData, shape: readonly number[]): void {
  if (data.shape.join() === shape.join()) return;
  throw new WeightError(data.file, data.name, `shape ${show(shape)}`, show(data.shape));
}
