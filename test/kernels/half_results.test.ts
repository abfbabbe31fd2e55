/** Where results may be binary16, and where not. No GPU. */
import { expect, it } from 'vitest';
import { attentionCase } from '../../src/kernels/attention_cases.ts';
import { dense, grouped } from '../../src/kernels/linear.ts';
import { matmul_join } from '../../src/kernels/matmul_join.ts';
import { matmul_matrix } from '../../src/kernels/matmul_matrix.ts';
import { matvec } from '../../src/kernels/matvec.ts';
import { mfa_combine } from '../../src/kernels/mfa_combine.ts';
import { mfa_prefill } from '../../src/kernels/mfa_prefill.ts';
import { mfa_quad } from '../../src/kernels/mfa_quad.ts';
import { mfa_tile } from '../../src/kernels/mfa_tile.ts';

const half = { half: true } as const;

it('attention makes binary16 of whole contexts and of what it joins, of heads without padding', () => {
  const whole = { ...attentionCase(16, 64, 'f16', 1, 64, [[0, 40]]), ...half };
  const parts = { ...attentionCase(16, 64, 'f16', 2, 32, [[0, 40]]), ...half };
  for (const kernel of [mfa_tile, mfa_prefill]) {
    expect(() => kernel.check(whole)).not.toThrow();
    expect(() => kernel.check(parts)).toThrow(/half: expected none for parts of a context, got 2 splits/);
    expect(kernel.bindings(whole).attn.type).toBe('f16');
  }
  expect(() => mfa_quad.check(whole)).toThrow(/half: expected results in f32/);
  expect(() => mfa_combine.check(parts)).not.toThrow();
  const padded = { ...attentionCase(4, 20, 'f16', 2, 32, [[0, 40]]), ...half };
  expect(() => mfa_combine.check(padded)).toThrow(/half: expected D of whole eights, got 20/);
});

it('matrix units make binary16 of SwiGLU, two results at a time', () => {
  const layer = dense(64, 64, 20, { tile: 64, out: 'swiglu', ...half });
  expect(() => matmul_matrix.check(layer)).not.toThrow();
  expect(matmul_matrix.bindings(layer).y.type).toBe('f16');
  const split = dense(64, 128, 20, { tile: 64, out: 'swiglu', splitK: { from: 0, parts: 2 }, ...half });
  expect(() => matmul_join.check(split)).not.toThrow();
  const wrong = /half: expected fours of gate and up rows on matrix units/;
  expect(() => matvec.check({ ...layer, tile: 1 })).toThrow(wrong);
  expect(() => matmul_matrix.check({ ...layer, out: 'store', yStride: 64 })).toThrow(wrong);
  expect(() => matmul_matrix.check(dense(72, 64, 20, { tile: 64, out: 'swiglu', ...half }))).toThrow(wrong);
  const shard = { expertBegin: 0, expertCount: 3, rowBegin: 2, rowCount: 20 };
  expect(() => matmul_matrix.check(grouped(3, 64, 64, 9, 1, 16, { out: 'swiglu', shard, ...half }))).toThrow(
    wrong,
  );
});
