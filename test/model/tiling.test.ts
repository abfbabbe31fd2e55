/** How dense layers of the released model are tiled on matrix units. No GPU. */
import { expect, it } from 'vitest';
import { PRESETS } from '../../src/config/index.ts';
import { dense } from '../../src/kernels/linear.ts';
import { matmul_matrix } from '../../src/kernels/matmul_matrix.ts';
import { denseTiling } from '../../src/model/linear.ts';
import { matrixOf } from '../../src/model/step.ts';
import type { WeightFormat } from '../../src/tensor.ts';
import { weightLayout } from '../../src/weights/layout.ts';

const config = { ...PRESETS.step3, num_hidden_layers: 1, moe_layers: [] };

function tile(matrix: string, rows: number, format: WeightFormat = 'bf16'): string {
  const layout = weightLayout(config, () => ({ format }), 2 ** 33);
  const shape = { deterministic: false, matrixUnits: true };
  const { kernel, tile } = denseTiling(rows, shape, matrixOf(layout, matrix));
  return `${kernel.name} ${tile}`;
}

it('few rows of weights, and many, are read for each 16 rows of x sooner than for 64 of which most are empty', () => {
  const [qkv, wq, gateUp] = ['layers.0.qkv_proj', 'layers.0.wq', 'layers.0.mlp.gate_up_proj'];
  expect([16, 17, 48, 49].map((rows) => tile(qkv, rows))).toEqual([
    'matmul_matrix 16',
    'matmul_matrix 16',
    'matmul_matrix 16',
    'matmul_matrix 64',
  ]);
  expect([16, 17].map((rows) => tile(wq, rows))).toEqual(['matmul_matrix 16', 'matmul_matrix 64']);
  expect([32, 33, 65].map((rows) => tile(gateUp, rows))).toEqual([
    'matmul_matrix 16',
    'matmul_matrix 64',
    'matmul_matrix 128',
  ]);
  expect(tile(gateUp, 32, 'q8_0')).toBe('matmul_matrix 64');
});

it('tiles of 128 x 128 are made in rounds of one or of two a processor, whichever leaves fewer processors idle', () => {
  const products = (rows: number, tokens: number, rest: Parameters<typeof dense>[3] = {}) => {
    const { TM, TN } = matmul_matrix.constants(dense(rows, 7168, tokens, { tile: 128, ...rest }));
    return `${TM}x${TN}`;
  };
  expect(products(7168, 256)).toBe('4x2'); // 112 tiles: less than a round of one
  expect(products(18_432, 128)).toBe('4x4'); // 144
  expect(products(18_432, 256)).toBe('4x2'); // 288: three rounds of one, or two of two
  expect(products(18_432, 384)).toBe('4x4'); // 432
  expect(products(36_864, 256, { out: 'swiglu' })).toBe('4x4'); // 576
  expect(products(18_432, 1024)).toBe('4x2'); // 1,152: nine, or five
  expect(products(36_864, 512, { out: 'swiglu' })).toBe('4x4');
  expect(products(7168, 1024)).toBe('4x4'); // 448: four, or two
  expect(products(7168, 1024, { out: 'add' })).toBe('4x2');
  expect(products(18_432, 256, { format: 'q8_0' })).toBe('4x4');
});
