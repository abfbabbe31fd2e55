/** Quantised safetensors checkpoints: weights by the formula of each format, and files that are wrong on purpose. */
import { describe, expect, it } from 'vitest';
import { configToJson, parseConfig } from '../../src/config/index.ts';
import { WeightError } from '../../src/errors.ts';
import { type DType, numberToF16 } from '../../src/tensor.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { expectedTensors } from '../../src/weights/names.ts';
import { encodeSafetensors } from '../../src/weights/safetensors.ts';
import { memorySource } from '../../src/weights/source.ts';
import type { StoredWeight } from '../../src/weights/stored.ts';
import { expectError, type MemoryTensor, text } from './support.ts';

/** Sizes that are multiples of 8, as packing needs, but neither of 32 nor of 128. */
const CONFIG = parseConfig({
  model_type: 'step3_text',
  hidden_size: 136,
  intermediate_size: 264,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_attention_groups: 1,
  head_dim: 40,
  share_q_dim: 72,
  moe_num_experts: 3,
  moe_top_k: 2,
  moe_intermediate_size: 56,
  share_expert_dim: 56,
  moe_layers_enum: '1',
  vocab_size: 24,
  max_seq_len: 64,
});

const FP8 = { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [128, 128] };
const packedConfig = (symmetric: boolean) => ({
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  ignore: ['lm_head'],
  config_groups: {
    group_0: {
      targets: ['Linear'],
      weights: { num_bits: 4, type: 'int', symmetric, group_size: 32, strategy: 'group' },
    },
  },
});
const AWQ = { quant_method: 'awq', bits: 4, group_size: 64, zero_point: true, version: 'gemm' };

type Make = (name: string, shape: readonly number[]) => MemoryTensor[];

const hash = (text: string) =>
  [...text].reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 0x01000193) >>> 0, 7);
const pick = (name: string, i: number) => (Math.imul(i + 1, 2654435761) ^ hash(name)) >>> 8;
const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

function tensor(name: string, dtype: DType, shape: readonly number[], values: ArrayBufferView): MemoryTensor {
  return { name, dtype, shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

const plain: Make = (name, shape) => [
  tensor(
    name,
    'BF16',
    shape,
    Uint16Array.from({ length: product(shape) }, (_, i) => 0x3f00 + (pick(name, i) & 63)),
  ),
];

/** Everything linear but the head, the embedding and the router goes through `make`. */
function quantised(make: Make): MemoryTensor[] {
  return expectedTensors(CONFIG).flatMap(({ name, shape, kind }) =>
    kind !== 'matrix' || /lm_head|moe\.gate\./.test(name) ? plain(name, shape) : make(name, shape),
  );
}

function open(tensors: readonly MemoryTensor[], quantization_config: unknown) {
  const files = new Map([
    ['config.json', text({ ...configToJson(CONFIG), quantization_config })],
    ['model.safetensors', encodeSafetensors(tensors)],
  ]);
  return openCheckpoint(memorySource('memory', files));
}

/** A weight as numbers, read in bands of rows that no block size divides. */
async function decode(
  weight: StoredWeight,
  at: (
    row: number,
    col: number,
    rows: Awaited<ReturnType<StoredWeight['readRows']>>,
    groups: number,
  ) => number,
) {
  const { experts, rows, cols, groupCols } = weight;
  const groups = Math.ceil(cols / (groupCols ?? cols));
  const values: number[] = [];
  for (let e = 0; e < experts; e++) {
    for (let r = 0; r < rows; r += 11) {
      const end = Math.min(rows, r + 11);
      const read = await weight.readRows(e, r, end);
      for (let i = 0; i < end - r; i++) for (let c = 0; c < cols; c++) values.push(at(i, c, read, groups));
    }
  }
  return values;
}

const e4m3 = (byte: number) => {
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  const value = exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
  return byte & 128 ? -value : value;
};

const fp8: Make = (name, shape) => {
  const scaleShape = [...shape.slice(0, -2), ...shape.slice(-2).map((size) => Math.ceil(size / 128))];
  return [
    tensor(
      name,
      'F8_E4M3',
      shape,
      Uint8Array.from({ length: product(shape) }, (_, i) => pick(name, i) % 127),
    ),
    tensor(
      `${name}_scale_inv`,
      'F32',
      scaleShape,
      Float32Array.from({ length: product(scaleShape) }, (_, i) => 0.25 + (pick(name, i + 99) & 63) / 64),
    ),
  ];
};

/** Unsigned values and zero points of a matrix, the same for both 4-bit layouts. */
const nibble = (name: string, row: number, col: number, cols: number) => pick(name, row * cols + col) & 15;
const zeroOf = (name: string, row: number, group: number) => pick(`${name}z`, row * 31 + group) & 15;
const scaleOf = (name: string, row: number, group: number) =>
  2 ** -((pick(`${name}s`, row * 31 + group) % 9) + 1);

const packed =
  (symmetric: boolean): Make =>
  (name, shape) =>
    shape.length === 3
      ? Array.from({ length: shape[0] }, (_, e) =>
          packed(symmetric)(name.replace('.moe.', `.moe.experts.${e}.`), shape.slice(1)),
        ).flat()
      : packedMatrix(name.replace(/\.weight$/, ''), shape[0], shape[1], symmetric);

function packedMatrix(module: string, rows: number, cols: number, symmetric: boolean): MemoryTensor[] {
  const [words, groups] = [Math.ceil(cols / 8), Math.ceil(cols / 32)];
  const values = new Int32Array(rows * words);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++)
      values[r * words + (c >> 3)] |= nibble(module, r, c, cols) << (4 * (c % 8));
  }
  const zeros = new Int32Array(Math.ceil(rows / 8) * groups);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) zeros[(r >> 3) * groups + g] |= zeroOf(module, r, g) << (4 * (r % 8));
  }
  const scales = Uint16Array.from({ length: rows * groups }, (_, i) =>
    numberToF16(scaleOf(module, Math.floor(i / groups), i % groups)),
  );
  return [
    tensor(`${module}.weight_packed`, 'I32', [rows, words], values),
    tensor(`${module}.weight_scale`, 'F16', [rows, groups], scales),
    tensor(`${module}.weight_shape`, 'I64', [2], BigInt64Array.of(BigInt(rows), BigInt(cols))),
    ...(symmetric
      ? []
      : [tensor(`${module}.weight_zero_point`, 'I32', [Math.ceil(rows / 8), groups], zeros)]),
  ];
}

/** Position of each output of a word: AutoAWQ's packing loop puts output ORDER[i] into nibble i. */
const ORDER = [0, 2, 4, 6, 1, 3, 5, 7];

const awq: Make = (name, shape) =>
  shape.length === 3
    ? Array.from({ length: shape[0] }, (_, e) =>
        awq(name.replace('.moe.', `.moe.${e}.`), shape.slice(1)),
      ).flat()
    : awqMatrix(name.replace(/\.weight$/, ''), shape[0], shape[1]);

function awqMatrix(module: string, rows: number, cols: number): MemoryTensor[] {
  const [words, groups] = [rows / 8, Math.ceil(cols / 64)];
  const pack = (height: number, at: (line: number, output: number) => number) => {
    const out = new Int32Array(height * words);
    for (let line = 0; line < height; line++) {
      for (let w = 0; w < words; w++) {
        for (let i = 0; i < 8; i++) out[line * words + w] |= at(line, 8 * w + ORDER[i]) << (4 * i);
      }
    }
    return out;
  };
  return [
    tensor(
      `${module}.qweight`,
      'I32',
      [cols, words],
      pack(cols, (c, r) => nibble(module, r, c, cols)),
    ),
    tensor(
      `${module}.qzeros`,
      'I32',
      [groups, words],
      pack(groups, (g, r) => zeroOf(module, r, g)),
    ),
    tensor(
      `${module}.scales`,
      'F16',
      [groups, rows],
      Uint16Array.from({ length: groups * rows }, (_, i) =>
        numberToF16(scaleOf(module, i % rows, Math.floor(i / rows))),
      ),
    ),
  ];
}

const MATRICES = expectedTensors(CONFIG).filter(
  ({ name, kind }) => kind === 'matrix' && !/lm_head|moe\.gate\./.test(name),
);

describe('FP8 with block scales', () => {
  it('decodes by the formula, blocks cut at the edges, experts stacked', async () => {
    const tensors = quantised(fp8);
    const checkpoint = await open(tensors, FP8);
    for (const { name, shape } of MATRICES) {
      const weight = checkpoint.weight(name)!;
      const { experts, rows, cols } = weight;
      expect({ format: weight.format, groupCols: weight.groupCols }).toEqual({
        format: 'fp8',
        groupCols: 128,
      });
      expect([experts, rows, cols]).toEqual(shape.length === 3 ? shape : [1, ...shape]);
      const bytes = tensors.find((t) => t.name === name)!.bytes;
      const scales = new Float32Array(
        tensors.find((t) => t.name === `${name}_scale_inv`)!.bytes.slice().buffer,
      );
      const [R, C] = [Math.ceil(rows / 128), Math.ceil(cols / 128)];
      const expected = Array.from({ length: experts * rows * cols }, (_, i) => {
        const [e, r, c] = [Math.floor(i / rows / cols), Math.floor(i / cols) % rows, i % cols];
        return e4m3(bytes[i]) * scales[(e * R + (r >> 7)) * C + (c >> 7)];
      });
      expect(
        await decode(
          weight,
          (r, c, { values, scales }, g) => e4m3(values[r * cols + c]) * scales![r * g + (c >> 7)],
        ),
      ).toEqual(expected);
    }
  });
});

const int4 =
  (
    groupCols: number,
    zero: (name: string, row: number, group: number) => number,
    part: (name: string, e: number) => string,
  ) =>
  async (checkpoint: Awaited<ReturnType<typeof open>>) => {
    for (const { name, shape } of MATRICES) {
      const weight = checkpoint.weight(name)!;
      const { experts, rows, cols } = weight;
      expect(weight).toMatchObject({ name, format: 'int4', groupCols, shape });
      const expected = Array.from({ length: experts * rows * cols }, (_, i) => {
        const [e, r, c] = [Math.floor(i / rows / cols), Math.floor(i / cols) % rows, i % cols];
        const module = (shape.length === 3 ? part(name, e) : name).replace(/\.weight$/, '');
        const g = Math.floor(c / groupCols);
        return (nibble(module, r, c, cols) - zero(module, r, g)) * scaleOf(module, r, g);
      });
      const rowBytes = Math.ceil(cols / 2);
      const decoded = await decode(weight, (r, c, { values, scales, zeros }, groups) => {
        const value = (values[r * rowBytes + (c >> 1)] >> (4 * (c & 1))) & 15;
        const g = r * groups + Math.floor(c / groupCols);
        return (value - zeros![g]) * scales![g];
      });
      expect(decoded).toEqual(expected);
    }
  };

describe('4 bits', () => {
  it('pack-quantized, symmetric, experts apart', async () => {
    await int4(
      32,
      () => 8,
      (name, e) => name.replace('.moe.', `.moe.experts.${e}.`),
    )(await open(quantised(packed(true)), packedConfig(true)));
  });

  it('pack-quantized with zero points', async () => {
    await int4(32, zeroOf, (name, e) => name.replace('.moe.', `.moe.experts.${e}.`))(
      await open(quantised(packed(false)), packedConfig(false)),
    );
  });

  it('AutoAWQ, experts under older names', async () => {
    await int4(64, zeroOf, (name, e) => name.replace('.moe.', `.moe.${e}.`))(await open(quantised(awq), AWQ));
  });
});

describe('plain experts apart', () => {
  it('are one weight', async () => {
    const tensors = quantised((name, shape) =>
      shape.length === 2
        ? plain(name, shape)
        : [0, 1, 2].flatMap((e) => plain(name.replace('.moe.', `.moe.experts.${e}.`), shape.slice(1))),
    );
    const checkpoint = await open(tensors, undefined);
    const name = 'model.layers.1.moe.up_proj.weight';
    const weight = checkpoint.weight(name)!;
    expect(weight).toMatchObject({ format: 'bf16', experts: 3, rows: 56, cols: 136 });
    const expert = tensors.find((t) => t.name === name.replace('.moe.', '.moe.experts.2.'))!;
    expect((await weight.readRows(2, 5, 7)).values).toEqual(expert.bytes.slice(5 * 272, 7 * 272));
  });
});

const Q = 'model.layers.0.self_attn.q_proj';
const replace = (name: string, change: Partial<MemoryTensor>) => (all: MemoryTensor[]) =>
  all.map((t) => (t.name === name ? { ...t, ...change } : t));
const without = (name: string) => (all: MemoryTensor[]) => all.filter((t) => t.name !== name);
const floats = (count: number, at: number, value: number) => {
  const values = new Float32Array(count).fill(1);
  values[at] = value;
  return new Uint8Array(values.buffer);
};

type Change = (all: MemoryTensor[]) => MemoryTensor[];
const OPENING: readonly (readonly [string, Make, unknown, Change, ...string[]])[] = [
  ['FP8 that config.json does not name', fp8, undefined, (all) => all, 'F8_E4M3', 'quantization_config'],
  ['FP8 where config.json says AWQ', fp8, AWQ, (all) => all, 'awq', 'fp8'],
  ['4 bits where config.json says FP8', packed(true), FP8, (all) => all, 'weight_packed', 'fp8'],
  ['no scale', fp8, FP8, without(`${Q}.weight_scale_inv`), `${Q}.weight_scale_inv`, 'no such tensor'],
  [
    'scales of another shape',
    fp8,
    FP8,
    replace(`${Q}.weight_scale_inv`, { shape: [2, 1] }),
    '[1,2]',
    '[2,1]',
  ],
  [
    'a scale per tensor',
    fp8,
    FP8,
    replace(`${Q}.weight_scale_inv`, { shape: [], bytes: new Uint8Array(4) }),
    '[1,2]',
  ],
  [
    'a matrix of another shape',
    fp8,
    FP8,
    replace(`${Q}.weight`, { shape: [136, 72] }),
    '[72,136]',
    '[136,72]',
  ],
  [
    'a module that is left out',
    fp8,
    { ...FP8, modules_to_not_convert: [Q] },
    (all) => all,
    Q,
    'leaves this module out',
  ],
  [
    'zero points that config.json denies',
    packed(false),
    packedConfig(true),
    (all) => all,
    'weight_zero_point',
    'one more',
  ],
  ['no zero points', packed(true), packedConfig(false), (all) => all, 'weight_zero_point', 'no such tensor'],
  [
    'no expert 1',
    packed(true),
    packedConfig(true),
    without('model.layers.1.moe.experts.1.up_proj.weight_packed'),
    'experts.1.up_proj',
    'no such tensor',
  ],
  [
    'an expert too many',
    packed(true),
    packedConfig(true),
    (all) => [...all, ...packedMatrix('model.layers.1.moe.experts.3.up_proj', 56, 136, true)],
    'experts.3',
    'one more',
  ],
  [
    'a packed matrix of another shape',
    packed(true),
    packedConfig(true),
    replace(`${Q}.weight_packed`, { shape: [36, 34] }),
    '[72,17]',
    '[36,34]',
  ],
  [
    'packed bytes',
    packed(true),
    packedConfig(true),
    replace(`${Q}.weight_packed`, { dtype: 'U8', shape: [72, 68] }),
    'I32',
    'U8',
  ],
  [
    'scales of other groups',
    packed(true),
    packedConfig(true),
    replace(`${Q}.weight_scale`, { shape: [72, 2], bytes: new Uint8Array(288) }),
    '[72,5]',
    '[72,2]',
  ],
  [
    'an order of columns',
    packed(true),
    packedConfig(true),
    (all) => [...all, tensor(`${Q}.weight_g_idx`, 'I32', [1], new Int32Array(1))],
    'weight_g_idx',
    'one more',
  ],
  ['AutoAWQ of another group size', awq, { ...AWQ, group_size: 32 }, (all) => all, 'scales', '[5,', '[3,'],
];

const READING: readonly (readonly [string, Make, unknown, Change, ...string[]])[] = [
  [
    'a scale that is NaN',
    fp8,
    FP8,
    replace(`${Q}.weight_scale_inv`, { bytes: floats(2, 1, Number.NaN) }),
    'weight_scale_inv',
    'NaN at [0, 1]',
  ],
  [
    'an infinite scale',
    fp8,
    FP8,
    replace(`${Q}.weight_scale_inv`, { bytes: floats(2, 0, Infinity) }),
    'Infinity at [0, 0]',
  ],
  ['a scale of 0', fp8, FP8, replace(`${Q}.weight_scale_inv`, { bytes: floats(2, 1, 0) }), '0 at [0, 1]'],
  [
    'scales that are integers',
    fp8,
    FP8,
    replace(`${Q}.weight_scale_inv`, { dtype: 'I32' }),
    'F32, F16 or BF16',
    'I32',
  ],
  [
    'a weight that is NaN',
    fp8,
    FP8,
    replace(`${Q}.weight`, { bytes: new Uint8Array(72 * 136).fill(0xff, 137, 138) }),
    'NaN at [1, 1]',
  ],
  [
    'a 4-bit scale of 0',
    packed(true),
    packedConfig(true),
    replace(`${Q}.weight_scale`, { bytes: new Uint8Array(720) }),
    'weight_scale',
    '0 at [0, 0]',
  ],
  [
    'another weight_shape',
    packed(true),
    packedConfig(true),
    replace(`${Q}.weight_shape`, { bytes: new Uint8Array(BigInt64Array.of(72n, 135n).buffer) }),
    'weight_shape',
    '[72,136]',
    '[72,135]',
  ],
  [
    'an AutoAWQ scale that is infinite',
    awq,
    AWQ,
    replace(`${Q}.scales`, {
      bytes: new Uint8Array(Uint16Array.from({ length: 216 }, (_, i) => (i === 73 ? 0x7c00 : 0x3c00)).buffer),
    }),
    'scales',
    'Infinity at [1, 1]',
  ],
];

describe('hostile quantised checkpoints', () => {
  const cases = (list: typeof OPENING) =>
    list.map(([name, make, config, change, ...mentions]) => ({ name, make, config, change, mentions }));

  it.each(cases(OPENING))('$name', ({ make, config, change, mentions }) =>
    expectError(() => open(change(quantised(make)), config), WeightError, ['model.safetensors', ...mentions]),
  );

  it.each(cases(READING))('$name, when it is read', async ({ make, config, change, mentions }) => {
    const checkpoint = await open(change(quantised(make)), config);
    const run = () => checkpoint.weight(`${Q}.weight`)!.readRows(0, 0, 72);
    await expectError(run, WeightError, ['model.safetensors', Q, ...mentions]);
  });
});
