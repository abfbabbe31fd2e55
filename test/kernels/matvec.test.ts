import { expect, it } from 'vitest';
import { routedAndShared } from '../../src/kernels/linear_cases.ts';
import { matvec } from '../../src/kernels/matvec.ts';
import { testKernel } from '../harness.ts';

testKernel(matvec);

it('refuses a shared expert that has no buffer of its own', () => {
  const routing = { experts: 6, topK: 2, renormalise: false };
  const check = (buffers: readonly number[]) =>
    matvec.check(routedAndShared(routing, 24, 16, 64, 1, { yStride: 24, buffers }));
  for (const buffers of [
    [6, 1],
    [3, 3, 1],
    [2, 2, 2, 1],
  ])
    expect(() => check(buffers), `${buffers}`).not.toThrow();
  for (const buffers of [[4, 3], [7], [4, 2, 1]]) {
    expect(() => check(buffers), `${buffers}`).toThrow(/buffers: expected/);
  }
});
