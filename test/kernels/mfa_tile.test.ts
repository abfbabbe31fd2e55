import { expect, it } from 'vitest';
import { groupedHeads } from '../../src/kernels/attention_cases.ts';
import { withFresh } from '../../src/kernels/fresh_heads.ts';
import { mfa_tile } from '../../src/kernels/mfa_tile.ts';
import { testEmulated } from '../emulated.ts';
import { emulatedTile, tileBytes } from '../emulated_tile.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_tile);
testEmulated(mfa_tile, emulatedTile, tileBytes);

it('takes fresh heads into a cache of 16 bits or fp8, of whole calls, rotated by lanes', () => {
  const heads = groupedHeads(16, 2, 128, 'f16', 1, 64, [
    [0, 40],
    [1, 9],
  ]);
  expect(() => mfa_tile.check(withFresh(heads, 128))).not.toThrow();
  expect(() => mfa_tile.check(withFresh({ ...heads, kv: 'fp8' }, 128))).not.toThrow();
  expect(() => mfa_tile.check(withFresh({ ...heads, kv: 'f32' }, 128))).toThrow(/kv: expected f16 or fp8/);
  expect(() => mfa_tile.check(withFresh({ ...heads, tokens: 1 }, 128))).toThrow(/tokens: expected all 2/);
  expect(() => mfa_tile.check(withFresh(heads, 96))).toThrow(/rotary: expected 16 times a power of two/);
  expect(() => mfa_tile.check(withFresh(heads, 256))).toThrow(/rotary: .* to D 128/);
});
