// Draws the rows of `step3 bench decode --output FILE.jsonl` as an SVG: time per output token against the context, a line
// per model and batch, with the time that the step's bytes take at the measured read bandwidth drawn dashed below it.
// Of rows with the same model, batch and context the last is taken.
// Usage: node scripts/decode_plot.mjs FILE.jsonl OUT.svg [MODEL]
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * What the plot reads of a row.
 *
 * @typedef {{ benchmark: string, driver: string, model: string, batch: number, context: number,
 *   tpot_median_ms: number, step_bytes: number, ceilings: { read_gbps: number } }} Row
 */

const LEFT = 70;
const TOP = 40;
const WIDTH = 620;
const HEIGHT = 360;
const COLOURS = ['#4477aa', '#cc6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#999999'];
const STYLE = `text{font:12px sans-serif;fill:#333}.head{font-weight:bold}.grid{stroke:#ddd}.tick{fill:#777}
.mid{text-anchor:middle}.right{text-anchor:end}.line{fill:none;stroke-width:2}.roof{stroke-dasharray:4 3;stroke-width:1}`;

/** @param {string} text */
const xml = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

/** Milliseconds that the bytes of a step take at the measured read bandwidth. @param {Row} row */
const roof = (row) => row.step_bytes / row.ceilings.read_gbps / 1e6;

/** 1, 2 and 5 times powers of ten within a range. @param {number} low @param {number} high */
function ticks(low, high) {
  const out = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of [1, 2, 5]) out.push(digit * 10 ** power);
  }
  return out.filter((value) => value >= low && value <= high);
}

/**
 * The plot of one model as SVG.
 *
 * @param {readonly Row[]} all
 * @param {string} model
 */
export function plot(all, model) {
  /** @type {Map<string, Row>} */
  const last = new Map();
  for (const row of all) {
    if (row.benchmark === 'decode' && row.model === model) last.set(`${row.batch} ${row.context}`, row);
  }
  const rows = [...last.values()].sort((a, b) => a.context - b.context);
  if (rows.length === 0) throw new Error(`no decode rows of model ${model}`);
  const times = rows.flatMap((row) => [row.tpot_median_ms, roof(row)]);
  const [low, high] = [Math.min(...times) / 1.2, Math.max(...times) * 1.2];
  const contexts = rows.map((row) => row.context);
  const [first, end] = [Math.min(...contexts), Math.max(...contexts)];
  /** @param {number} c */
  const x = (c) => LEFT + (first === end ? 0.5 : Math.log(c / first) / Math.log(end / first)) * WIDTH;
  /** @param {number} ms */
  const y = (ms) => TOP + HEIGHT - (Math.log(ms / low) / Math.log(high / low)) * HEIGHT;
  const parts = [
    `<text x="${LEFT}" y="20" class="head">${xml(`${model}: time per output token, ms (${rows[0].driver})`)}</text>`,
  ];
  for (const ms of ticks(low, high)) {
    parts.push(`<line x1="${LEFT}" y1="${y(ms)}" x2="${LEFT + WIDTH}" y2="${y(ms)}" class="grid"/>`);
    parts.push(
      `<text x="${LEFT - 6}" y="${y(ms) + 4}" class="tick right">${Number(ms.toPrecision(1))}</text>`,
    );
  }
  for (const c of new Set(contexts)) {
    parts.push(`<text x="${x(c)}" y="${TOP + HEIGHT + 18}" class="tick mid">${c}</text>`);
  }
  parts.push(`<text x="${LEFT + WIDTH / 2}" y="${TOP + HEIGHT + 36}" class="mid">context, positions</text>`);
  [...new Set(rows.map((row) => row.batch))].forEach((batch, i) => {
    const own = rows.filter((row) => row.batch === batch);
    const colour = COLOURS[i % COLOURS.length];
    for (const [kind, value] of /** @type {const} */ ([
      ['line', (/** @type {Row} */ row) => row.tpot_median_ms],
      ['line roof', roof],
    ])) {
      const points = own.map((row) => `${x(row.context).toFixed(1)},${y(value(row)).toFixed(1)}`);
      parts.push(`<polyline points="${points.join(' ')}" class="${kind}" stroke="${colour}"/>`);
      if (kind === 'line')
        for (const p of points)
          parts.push(`<circle cx="${p.split(',')[0]}" cy="${p.split(',')[1]}" r="3" fill="${colour}"/>`);
    }
    const end = own[own.length - 1];
    parts.push(
      `<text x="${LEFT + WIDTH + 10}" y="${y(end.tpot_median_ms) + 4}" style="fill:${colour}">batch ${batch}</text>`,
    );
  });
  parts.push(
    `<text x="${LEFT}" y="${TOP + HEIGHT + 56}" class="tick">dashed: the bytes of the step at ${rows[0].ceilings.read_gbps.toFixed(0)} GB/s, the read bandwidth of the same run</text>`,
  );
  const size = `width="${LEFT + WIDTH + 110}" height="${TOP + HEIGHT + 70}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n<title>${xml(`${model}: time per output token`)}</title>\n<style>${STYLE}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n${parts.join('\n')}\n</svg>\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file, out, wanted] = process.argv;
  const rows = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  writeFileSync(out, plot(rows, wanted ?? rows[rows.length - 1].model));
}
