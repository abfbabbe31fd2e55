// Draws the rows of `step3 bench kernels --output FILE.jsonl` as an SVG: one bar per kernel and shape, in percent of the
// read bandwidth that the same run measured. Of rows with one name the last is taken, for each adapter by itself.
// Usage: node scripts/bench_plot.mjs FILE.jsonl OUT.svg
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * What the plot reads of a row.
 *
 * @typedef {{ benchmark: string, adapter: string, driver: string, kernel: string, variant: string, shape: string,
 *   us: number, gbps: number, read_percent: number, ceilings: { read_gbps: number } }} Row
 */

const ROW = 18;
const NAMES = 420;
const BARS = 400;
const WIDTH = NAMES + BARS + 190;
const STYLE = `text{font:12px sans-serif;fill:#333}.head{font-weight:bold}.name{text-anchor:end}
.bar{fill:#4477aa}.over{fill:#cc6677}.grid{stroke:#ccc}.tick{text-anchor:middle;fill:#777}`;

/** @param {string} text */
const xml = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

/** @param {number} x @param {number} y @param {string} text @param {string} [kind] */
const label = (x, y, text, kind = '') => `<text x="${x}" y="${y}" class="${kind}">${xml(text)}</text>`;

/**
 * The plot as SVG.
 *
 * @param {readonly Row[]} rows
 */
export function plot(rows) {
  /** @type {Map<string, Map<string, Row>>} */
  const adapters = new Map();
  for (const row of rows.filter((r) => r.benchmark === 'kernels')) {
    const own = adapters.get(row.adapter) ?? new Map();
    adapters.set(row.adapter, own.set(`${row.kernel} (${row.variant}) ${row.shape}`, row));
  }
  const parts = [];
  let y = 24;
  for (const own of adapters.values()) {
    const all = [...own.entries()];
    const [, last] = all[all.length - 1];
    const bottom = y + 16 + all.length * ROW;
    parts.push(label(8, y, `${last.driver}: % of ${last.ceilings.read_gbps.toFixed(0)} GB/s read`, 'head'));
    for (const percent of [0, 25, 50, 75, 100]) {
      const x = NAMES + (BARS * percent) / 100;
      parts.push(`<line x1="${x}" y1="${y + 10}" x2="${x}" y2="${bottom}" class="grid"/>`);
      parts.push(label(x, bottom + 14, `${percent}`, 'tick'));
    }
    y += 26;
    for (const [name, { read_percent, gbps, us }] of all) {
      // Caches can serve more than memory does: such a bar ends at the right and has another colour.
      const width = (BARS * Math.min(100, read_percent)) / 100;
      const kind = read_percent > 100 ? 'over' : 'bar';
      parts.push(label(NAMES - 6, y, name, 'name'));
      parts.push(
        `<rect x="${NAMES}" y="${y - 11}" width="${width.toFixed(1)}" height="13" class="${kind}"/>`,
      );
      const figures = `${read_percent.toFixed(1)} %, ${gbps.toPrecision(3)} GB/s, ${us.toPrecision(3)} us`;
      parts.push(label(NAMES + width + 5, y, figures));
      y += ROW;
    }
    y += 36;
  }
  const box = `xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}"`;
  const ground = '<rect width="100%" height="100%" fill="white"/>';
  return `<svg ${box}>\n<title>kernels, percent of the read bandwidth</title>\n<style>${STYLE}</style>\n${ground}\n${parts.join('\n')}\n</svg>\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to] = process.argv.slice(2);
  if (from === undefined || to === undefined) {
    console.error('usage: node scripts/bench_plot.mjs FILE.jsonl OUT.svg');
    process.exit(2);
  }
  const lines = readFileSync(from, 'utf8').split('\n');
  writeFileSync(to, plot(lines.filter((line) => line !== '').map((line) => JSON.parse(line))));
}
