// Draws the rows of `step3 bench kernels --output FILE.jsonl` as an SVG: one bar per kernel and shape, in percent of the
// read bandwidth that the same run measured. Of rows with one name the last is taken, for each adapter by itself.
// Usage: node scripts/bench_plot.mjs FILE.jsonl OUT.svg
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readRows } from './bench_rows.mjs';

/**
 * What the plot reads of a row.
 *
 * @typedef {{ benchmark: string, adapter: string, driver: string, kernel: string, variant: string, shape: string,
 *   us: number, gbps: number, read_percent: number, ceilings: { read_gbps: number } }} Row
 */

/** @param {readonly Row[]} rows */
function bars(rows) {
  /** @type {Map<string, Row>} */
  const last = new Map();
  for (const row of rows) last.set(`${row.kernel} (${row.variant}) ${row.shape}`, row);
  return [...last].map(([name, { read_percent, gbps, us }]) => ({
    name,
    // Caches can serve more than memory does: such a bar ends at the right and has another colour.
    percent: Math.min(100, read_percent),
    beyond: read_percent > 100,
    figures: `${read_percent.toFixed(1)} %, ${gbps.toPrecision(3)} GB/s, ${us.toPrecision(3)} us`,
  }));
}

/**
 * The plot of one adapter.
 *
 * @param {readonly Row[]} rows
 * @returns {any} a part of a Vega-Lite specification, whose own type is only exported from unstable paths
 */
function adapterPlot(rows) {
  const { driver, ceilings } = rows[rows.length - 1];
  return {
    title: { text: `${driver}: % of ${ceilings.read_gbps.toFixed(0)} GB/s read`, anchor: 'start' },
    data: { values: bars(rows) },
    width: 400,
    height: { step: 18 },
    encoding: {
      y: {
        field: 'name',
        type: 'nominal',
        sort: null,
        title: null,
        axis: { labelLimit: 1000, ticks: false },
      },
      x: {
        field: 'percent',
        type: 'quantitative',
        scale: { domain: [0, 100] },
        axis: { values: [0, 25, 50, 75, 100] },
        title: null,
      },
    },
    layer: [
      {
        mark: { type: 'bar', height: 13 },
        encoding: {
          color: {
            field: 'beyond',
            type: 'nominal',
            scale: { domain: [false, true], range: ['#4477aa', '#cc6677'] },
            legend: null,
          },
        },
      },
      {
        mark: { type: 'text', align: 'left', dx: 5 },
        encoding: { text: { field: 'figures', type: 'nominal' } },
      },
    ],
  };
}

/**
 * The plot as SVG, one part for each adapter.
 *
 * @param {readonly Row[]} all
 */
export async function plot(all) {
  const { renderSvg } = await import('../dist/cli/svg.js');
  const rows = all.filter((row) => row.benchmark === 'kernels');
  const adapters = [...new Set(rows.map((row) => row.adapter))];
  const parts = adapters.map((name) => adapterPlot(rows.filter((row) => row.adapter === name)));
  return renderSvg({ vconcat: parts, config: { aria: false } }, 'kernels, percent of the read bandwidth');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to] = process.argv.slice(2);
  if (from === undefined || to === undefined) {
    console.error('usage: node scripts/bench_plot.mjs FILE.jsonl OUT.svg');
    process.exit(2);
  }
  writeFileSync(to, await plot(readRows(from)));
}
