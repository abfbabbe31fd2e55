import { expect, it } from 'vitest';
import { preset } from '../../src/config/index.ts';
import { promptChunk } from '../../src/runtime/prefill.ts';

const chunk = (name: string, maxBatch: number, matrixUnits = true, maxContext = 32768) =>
  promptChunk(preset(name), matrixUnits, { maxContext, maxBatch });

it('chunks fill the tiles of experts where there are matrix units', () => {
  expect(chunk('step3', 1)).toBe(2048);
  expect(chunk('step35-flash', 1)).toBe(4096);
  expect(chunk('step35-flash', 1, false)).toBe(256);
  expect(chunk('step35-flash', 1, true, 600)).toBe(600);
});

it('rings of many sequences have room for smaller chunks', () => {
  expect([2, 3, 4, 64].map((batch) => chunk('step35-flash', batch))).toEqual([2048, 1024, 1024, 1024]);
  expect(chunk('step3', 64)).toBe(2048);
});
