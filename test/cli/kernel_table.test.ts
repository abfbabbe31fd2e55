import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { kernelTable, replaceTable } from '../../scripts/kernel_table.mjs';
import { KERNELS } from '../../src/kernels/index.ts';

it('the table of kernels in the README is current', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  expect(readme, 'run: node scripts/kernel_table.mjs').toBe(replaceTable(readme, kernelTable(KERNELS)));
});

it('a README without the markers is refused', () => {
  expect(() => replaceTable('no markers', 'table')).toThrow(/README\.md: expected/);
});
