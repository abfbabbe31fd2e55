import { describe, expect, it } from 'vitest';
import { contextSlices, OCCUPYING, sliceLength, usedSlices } from '../../src/kernels/slices.ts';

const splits = (seen: number, each: number, workgroups: number = OCCUPYING.ahead) =>
  contextSlices(seen, each, workgroups).splits;

describe('slices of a context', () => {
  it('occupy the GPU with few tokens, in slices of 64 positions at least', () => {
    expect(splits(1, 1)).toBe(1);
    expect(splits(65, 1)).toBe(2);
    expect(splits(4096, 1)).toBe(64);
    expect(splits(32768, 1)).toBe(128);
    expect(splits(8192, 16)).toBe(8);
    expect(splits(8192, 64)).toBe(2);
    expect(splits(8192, 64, OCCUPYING.plain)).toBe(8);
  });

  it('fill rounds of workgroups side by side, not one and a little', () => {
    // 43 slices of three tokens would be 129 workgroups, 3 of 48 tokens 144, 3 of 64 tokens 192, 1 of 100 tokens 100.
    expect(splits(32768, 3)).toBe(42);
    expect(splits(8192, 48)).toBe(5);
    expect(splits(16400, 64)).toBe(4);
    expect(splits(8192, 100)).toBe(5);
    expect(splits(8192, 40)).toBe(3);
  });

  it('are no longer than 8,192 positions, and one for each of many tokens', () => {
    expect(splits(65536, 64)).toBe(8);
    expect(splits(65536, 512)).toBe(8);
    expect(splits(512, 512)).toBe(1);
  });

  it('hold all positions, whatever a token sees', () => {
    for (const each of [1, 3, 7, 16, 40, 48, 64, 100, 129, 1000]) {
      for (const seen of [1, 63, 64, 65, 700, 4096, 16400, 65536]) {
        const slices = contextSlices(seen, each, OCCUPYING.ahead);
        for (const own of [1, Math.ceil(seen / 2), seen]) {
          expect(sliceLength(slices, own) * slices.splits).toBeGreaterThanOrEqual(own);
          expect(usedSlices(slices, own)).toBeLessThanOrEqual(slices.splits);
        }
      }
    }
  });
});
