// Prints the rows of `step3 bench … --output FILE.jsonl` as Markdown tables, as docs/performance.md has them.
// Of rows with the same name the last is taken.
// Usage: node scripts/bench_table.mjs FILE.jsonl
import { readRows } from './bench_rows.mjs';

const [, , file] = process.argv;
const rows = readRows(file);

/** @param {number} value */
const short = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** @param {readonly string[]} head @param {readonly (readonly string[])[]} body @param {number} text */
function print(head, body, text) {
  const all = [head, ...body];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const rule = widths.map((width, i) => (i < text ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  for (const row of [head, rule, ...body]) {
    const cells = row.map((cell, i) => (i < text ? cell.padEnd(widths[i]) : cell.padStart(widths[i])));
    console.log(`| ${cells.join(' | ')} |`);
  }
  console.log();
}

const kernels = new Map(
  rows.filter((r) => r.benchmark === 'kernels').map((r) => [`${r.kernel} ${r.variant} ${r.shape}`, r]),
);
if (kernels.size > 0) {
  print(
    ['Kernel', 'Shape', 'µs', 'GB/s', 'TFLOP/s', '% of read', '% of arithmetic', 'predicted µs'],
    [...kernels.values()].map((r) => [
      `${r.kernel} (${r.variant})`,
      r.shape,
      ...[r.us, r.gbps, r.tflops, r.read_percent, r.fma_percent].map(short),
      // Not where the adapter was not calibrated, nor in older results.
      typeof r.predicted_us === 'number' ? short(r.predicted_us) : '–',
    ]),
    2,
  );
}
const decode = new Map(
  rows.filter((r) => r.benchmark === 'decode').map((r) => [`${r.model} ${r.batch} ${r.context}`, r]),
);
if (decode.size > 0) {
  print(
    [
      'Model',
      'Batch',
      'Context',
      'TPOT ms',
      'p99 ms',
      'GPU ms',
      'tokens/s',
      'MBU %',
      'Dispatches',
      'Encode ms',
    ],
    [...decode.values()].map((r) => [
      r.model,
      String(r.batch),
      String(r.context),
      ...[r.tpot_median_ms, r.tpot_p99_ms, r.gpu_ms, r.tokens_per_second, r.mbu_percent].map(short),
      String(r.dispatches),
      short(r.encode_ms),
    ]),
    1,
  );
}
const prefill = new Map(
  rows.filter((r) => r.benchmark === 'prefill').map((r) => [`${r.model} ${r.prompt} ${r.chunk}`, r]),
);
if (prefill.size > 0) {
  /** Nothing where the adapter has no timestamps. @param {number | null} value */
  const timed = (value) => (value === null ? '–' : short(value));
  print(
    [
      ...['Model', 'Prompt', 'Chunk', 'TTFT ms', 'GPU ms', 'tokens/s'],
      ...['TFLOP', 'TFLOP/s', '% of arithmetic', 'Dispatches'],
    ],
    [...prefill.values()].map((r) => [
      r.model,
      String(r.prompt),
      String(r.chunk),
      short(r.ttft_ms),
      timed(r.gpu_ms),
      short(r.tokens_per_second),
      short(r.flops / 1e12),
      timed(r.tflops),
      timed(r.arithmetic_percent),
      String(r.dispatches),
    ]),
    1,
  );
}
