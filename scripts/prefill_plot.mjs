// Draws the rows of `step3 bench prefill --output FILE.jsonl` as an SVG: prompt tokens per second against the length of the
// prompt, a line per number of tokens that a step takes. Of rows with the same model, prompt and chunk the last is taken.
// Usage: node scripts/prefill_plot.mjs FILE.jsonl OUT.svg [MODEL]
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readRows } from './bench_rows.mjs';

/**
 * What the plot reads of a row.
 *
 * @typedef {{ benchmark: string, driver: string, model: string, prompt: number, chunk: number, tokens_per_second: number }} Row
 */

/**
 * The plot of one model as SVG.
 *
 * @param {readonly Row[]} all
 * @param {string} model
 */
export async function plot(all, model) {
  const { renderSvg } = await import('../dist/cli/svg.js');
  /** @type {Map<string, Row>} */
  const last = new Map();
  for (const row of all) {
    if (row.benchmark === 'prefill' && row.model === model) last.set(`${row.prompt} ${row.chunk}`, row);
  }
  const rows = [...last.values()].sort((a, b) => a.prompt - b.prompt || a.chunk - b.chunk);
  if (rows.length === 0) throw new Error(`no prefill rows of model ${model}`);
  const values = rows.map((row) => ({
    prompt: row.prompt,
    chunk: `${row.chunk} tokens a step`,
    rate: row.tokens_per_second,
  }));
  return renderSvg(
    {
      title: `${model}: prompts read (${rows[0].driver})`,
      data: { values },
      width: 620,
      height: 300,
      mark: { type: 'line', point: true },
      encoding: {
        x: {
          field: 'prompt',
          type: 'quantitative',
          scale: { type: 'log', nice: false },
          axis: { values: [...new Set(rows.map((row) => row.prompt))], format: 'd' },
          title: 'tokens of the prompt',
        },
        y: { field: 'rate', type: 'quantitative', axis: { format: '~s' }, title: 'tokens per second' },
        color: { field: 'chunk', type: 'nominal', sort: null, title: null },
      },
      config: { aria: false },
    },
    `${model}: prompts read`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file, out, wanted] = process.argv;
  const rows = readRows(file);
  writeFileSync(out, await plot(rows, wanted ?? rows[rows.length - 1].model));
}
