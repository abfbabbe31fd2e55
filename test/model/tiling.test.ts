/** How dense layers of the released model are tiled on matrix units. No GPU. */
import { expect, it } from 'vitest';
import { PRESETS } from '../../src/config/index.ts';
import { bindingBytes } from '../../src/kernels/kernel.ts';
import { dense } from '../../src/kernels/linear.ts';
import { matmul_join } from '../../src/kernels/matmul_join.ts';
import { matmul_matrix, splitOf } from '../../src/kernels/matmul_matrix.ts';
import { denseTiling, expertTiling } from '../../src/model/linear.ts';
import { matrixOf } from '../../src/model/step.ts';
import type { WeightFormat } from '../../src/tensor.ts';
import { weightLayout } from '../../src/weights/layout.ts';

const config = { ...PRESETS.step3, num_hidden_layers: 1, moe_layers: [] };
const shape = { deterministic: false, matrixUnits: true, processor: false };

function tile(matrix: string, rows: number, format: WeightFormat = 'bf16'): string {
  const layout = weightLayout(config, () => ({ format }), 2 ** 33);
  const { kernel, tile } = denseTiling(rows, shape, matrixOf(layout, matrix));
  return `${kernel.name} ${tile}`;
}

it('more rows of x than a tile holds go to the next larger one, and to 64 at a time where 128 would leave most idle', () => {
  const [qkv, gateUp] = ['layers.0.qkv_proj', 'layers.0.mlp.gate_up_proj'];
  for (const format of ['bf16', 'q8_0'] as const) {
    expect([16, 17, 64, 256].map((rows) => tile(qkv, rows, format))).toEqual(
      [16, 64, 64, 128].map((rows) => `matmul_matrix ${rows}`),
    );
    expect([16, 17, 64, 65].map((rows) => tile(gateUp, rows, format))).toEqual(
      [16, 64, 64, 128].map((rows) => `matmul_matrix ${rows}`),
    );
  }
  const mini = weightLayout(PRESETS['step3-mini'], () => ({ format: 'bf16' }), 2 ** 33);
  expect(denseTiling(128, shape, matrixOf(mini, 'layers.0.qkv_proj')).tile).toBe(64);
});

it('tiles of 128 x 128 are made in rounds of one or of two a processor, whichever are shorter together', () => {
  const products = (rows: number, tokens: number, rest: Parameters<typeof dense>[3] = {}) => {
    const { TM, TN } = matmul_matrix.constants(dense(rows, 7168, tokens, { tile: 128, ...rest }));
    return `${TM}x${TN}`;
  };
  expect(products(7168, 256)).toBe('4x2'); // 112 tiles: less than a round of one
  expect(products(18_432, 128)).toBe('4x4'); // 144
  expect(products(18_432, 256)).toBe('4x2'); // 288: three rounds of one, or two of two
  expect(products(18_432, 384)).toBe('4x4'); // 432
  expect(products(36_864, 512)).toBe('4x4'); // 1,152: nine, or five
});

it('columns are split where a last round would be nearly empty, or the only one', () => {
  const split = (rows: number, K: number, tokens: number, rest: Parameters<typeof dense>[3] = {}) =>
    splitOf(dense(rows, K, tokens, { tile: tokens <= 64 ? 64 : 128, ...rest }));
  expect(split(18_432, 7168, 256)).toEqual({ from: 16_896, parts: 11 }); // 132 of 144 tiles of rows fill a round
  expect(split(36_864, 7168, 256)).toEqual({ from: 33_792, parts: 5 });
  expect(split(16_384, 2048, 256)).toBeUndefined(); // 256 tiles, of 264 that fill a round
  expect(split(2560, 7168, 64)?.from).toBe(0);
  expect(split(2560, 7168, 256)?.from).toBe(0);
  expect(split(896, 256, 64)).toBeUndefined(); // a call more would cost more
  expect(split(2560, 7168, 16, { tile: 16 })).toBeUndefined();
  expect(split(2560, 7168, 64, { format: 'q8_0' })?.from).toBe(0);
});

it('what is split depends on the number of tiles alone, so that prompts of other lengths need no other pipelines', () => {
  for (const [rows, K] of [
    [2560, 7168],
    [18_432, 7168],
    [7168, 16_384],
  ]) {
    for (const [first, last, tile] of [
      [17, 64, 64],
      [65, 128, 128],
      [129, 256, 128],
    ]) {
      const of = (tokens: number) => {
        const params = dense(rows, K, tokens, { tile });
        const splitK = splitOf(params);
        return JSON.stringify([splitK, matmul_matrix.constants({ ...params, splitK })]);
      };
      const all = Array.from({ length: last - first + 1 }, (_, i) => of(first + i));
      expect(new Set(all).size).toBe(1);
    }
  }
});

it('what is split has parts with columns, whole tiles before it, and sums that fit', () => {
  for (const rows of [40, 768, 2560, 7168, 18_432, 36_864, 128_815]) {
    for (const K of [64, 200, 896, 7168, 18_432]) {
      for (const tokens of [17, 64, 65, 200, 1000, 4096]) {
        for (const tile of [64, 128]) {
          for (const format of ['bf16', 'q8_0'] as const) {
            const params = dense(rows, K, tokens, { tile, format });
            const splitK = splitOf(params);
            if (splitK === undefined) continue;
            const call = { ...params, splitK };
            expect(() => matmul_matrix.check(call)).not.toThrow();
            expect(() => matmul_join.check(call)).not.toThrow();
            expect(bindingBytes(matmul_join.bindings(call).parts)).toBeLessThanOrEqual(2 ** 26);
          }
        }
      }
    }
  }
});

it('experts have tiles that hold nearly all that each of them gets', () => {
  const layout = weightLayout(config, () => ({ format: 'bf16' }), 2 ** 33);
  const weights = [matrixOf(layout, 'layers.0.mlp.gate_up_proj')];
  const tiling = (tokens: number, matrixUnits = true) => {
    const { kernel, tile } = expertTiling(tokens, 3, 48, { ...shape, matrixUnits }, weights);
    return `${kernel.name} ${tile}`;
  };
  expect([1, 2, 16, 20].map((tokens) => tiling(tokens))).toEqual(['matvec 1', ...Array(3).fill('matvec 2')]);
  expect([21, 80, 81, 256, 257, 800, 1024, 1344, 1400, 4096].map((tokens) => tiling(tokens))).toEqual(
    [8, 8, 16, 16, 64, 64, 96, 96, 128, 128].map((tile) => `matmul_matrix ${tile}`),
  );
  expect([16, 17, 128, 129].map((tokens) => tiling(tokens, false))).toEqual([
    ...['matvec 2', 'matvec 4', 'matvec 4', 'matmul 64'],
  ]);
});

it('processors take matvec for more tokens, as tiles that are not full cost them as much as full ones', () => {
  const layout = (format: WeightFormat) => weightLayout(config, () => ({ format }), 2 ** 33);
  const tilings = (format: WeightFormat, processor: boolean) => {
    const weights = matrixOf(layout(format), 'layers.0.mlp.gate_up_proj');
    const on = { deterministic: false, matrixUnits: false, processor };
    const name = ({ kernel, tile }: ReturnType<typeof denseTiling>) => `${kernel.name} ${tile}`;
    return {
      dense: [16, 17, 40, 41].map((rows) => name(denseTiling(rows, on, weights))),
      experts: [128, 256, 640, 641].map((tokens) => name(expertTiling(tokens, 3, 48, on, [weights]))),
    };
  };
  expect(tilings('bf16', true)).toEqual({
    dense: ['matvec 4', 'matvec 4', 'matvec 4', 'matmul 64'],
    experts: ['matvec 4', 'matvec 4', 'matvec 4', 'matmul 64'],
  });
  expect(tilings('bf16', false)).toEqual({
    dense: ['matvec 4', 'matmul 64', 'matmul 64', 'matmul 64'],
    experts: ['matvec 4', 'matmul 64', 'matmul 64', 'matmul 64'],
  });
  expect(tilings('q8_0', true).dense).toEqual(['matvec 2', 'matvec 2', 'matvec 2', 'matmul 64']);
  expect(tilings('q8_0', false).dense).toEqual(['matvec 2', 'matmul 64', 'matmul 64', 'matmul 64']);
});
