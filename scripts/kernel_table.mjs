// Writes the table of kernels between the markers of README.md, from the declarations in the build.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const readme = join(dirname(fileURLToPath(import.meta.url)), '../README.md');
const BEGIN = '<!-- kernels: written by scripts/kernel_table.mjs -->';
const END = '<!-- end of kernels -->';

/**
 * The table as Markdown.
 *
 * @param {readonly { name: string, summary: string, variants: readonly { name: string }[], shapes: { test: readonly unknown[] } }[]} kernels
 */
export function kernelTable(kernels) {
  const rows = kernels.map(({ name, summary, variants, shapes }) => [
    `\`${name}\``,
    summary.replace(/\|/g, '\\|'),
    variants.map((v) => v.name).join(', '),
    String(shapes.test.length),
  ]);
  const head = ['Kernel', 'Computes', 'Variants', 'Test shapes'];
  // Aligned as the formatter would have it.
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => [...row[i]].length)));
  const lines = [head, widths.map((width) => '-'.repeat(width)), ...rows];
  return lines.map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`).join('\n');
}

/**
 * `text` with the table between its markers replaced.
 *
 * @param {string} text
 * @param {string} table
 */
export function replaceTable(text, table) {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`README.md: expected ${BEGIN} and then ${END}`);
  return `${text.slice(0, begin + BEGIN.length)}\n\n${table}\n\n${text.slice(end)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { build } = await import('./build.mjs');
  build();
  const built = new URL('../dist/kernels/index.js', import.meta.url).href;
  const { KERNELS } = await import(built);
  writeFileSync(readme, replaceTable(readFileSync(readme, 'utf8'), kernelTable(KERNELS)));
}
