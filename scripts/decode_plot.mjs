// Draws the rows of `step3 bench decode --output FILE.jsonl` as an SVG: time per output token against the context, a line
// per model and batch, with the time that the step's bytes take at the measured read bandwidth drawn dashed below it.
// Of rows with the same model, batch and context the last is taken.
// Usage: node scripts/decode_plot.mjs FILE.jsonl OUT.svg [MODEL]
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readRows } from './bench_rows.mjs';

/**
 * What the plot reads of a row.
 *
 * @typedef {{ benchmark: string, driver: string, model: string, batch: number, context: number,
 *   tpot_median_ms: number, step_bytes: number, ceilings: { read_gbps: number } }} Row
 */

/** Where the axis of times is marked: 1, 2 and 5 times powers of ten. */
const MARKS = [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6].flatMap((power) =>
  [1, 2, 5].map((digit) => Number(`${digit}e${power}`)),
);

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
    if (row.benchmark === 'decode' && row.model === model) last.set(`${row.batch} ${row.context}`, row);
  }
  const rows = [...last.values()].sort((a, b) => a.context - b.context);
  if (rows.length === 0) throw new Error(`no decode rows of model ${model}`);
  const [{ driver, ceilings }] = rows;
  const values = rows.flatMap((row) => {
    const line = { context: row.context, batch: `batch ${row.batch}` };
    return [
      { ...line, kind: 'measured', ms: row.tpot_median_ms },
      {
        ...line,
        kind: `bytes at ${ceilings.read_gbps.toFixed(0)} GB/s`,
        ms: row.step_bytes / row.ceilings.read_gbps / 1e6,
      },
    ];
  });
  const times = values.map(({ ms }) => ms);
  const first = MARKS.findLastIndex((mark) => mark <= Math.min(...times));
  const marks = MARKS.slice(first, MARKS.findIndex((mark) => mark >= Math.max(...times)) + 1);
  return renderSvg(
    {
      title: `${model}: time per output token (${driver})`,
      data: { values },
      width: 620,
      height: 360,
      mark: { type: 'line', point: true },
      encoding: {
        x: {
          field: 'context',
          type: 'quantitative',
          scale: { type: 'log', nice: false },
          axis: { values: [...new Set(rows.map((row) => row.context))], format: 'd' },
          title: 'context, positions',
        },
        y: {
          field: 'ms',
          type: 'quantitative',
          scale: { type: 'log', nice: false, domain: [marks[0], marks[marks.length - 1]] },
          axis: { values: marks, format: '~g' },
          title: 'ms',
        },
        color: { field: 'batch', type: 'nominal', sort: null, title: null },
        strokeDash: {
          field: 'kind',
          type: 'nominal',
          sort: null,
          title: null,
          legend: {
            symbolType: 'stroke',
            symbolStrokeColor: '#555',
            symbolFillColor: 'none',
            symbolSize: 300,
          },
        },
      },
      config: { aria: false },
    },
    `${model}: time per output token`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file, out, wanted] = process.argv;
  const rows = readRows(file);
  writeFileSync(out, await plot(rows, wanted ?? rows[rows.length - 1].model));
}
