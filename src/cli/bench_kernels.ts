/** `step3 bench kernels`: every kernel at its benchmark shapes. */
import { Command, Option } from 'commander';
import { benchCases, DEFAULT_BATCHES } from '../bench/cases.ts';
import { benchKernels, type KernelRow } from '../bench/kernels.ts';
import { MAX_COPIES } from '../bench/setup.ts';
import { GpuClock } from '../bench/timing.ts';
import { type Compared, type ErrorSummary, summarise } from '../bench/validate.ts';
import { PRESETS } from '../config/index.ts';
import { openDevice } from '../runtime/device.ts';
import { PipelineCache } from '../runtime/pipelines.ts';
import type { ConvertTarget } from '../weights/convert_plan.ts';
import {
  appendLine,
  type BenchCard,
  type BenchFlags,
  benchCard,
  columns,
  counts,
  digits,
  printJson,
  say,
} from './bench_report.ts';
import { EXIT } from './errors.ts';
import { table } from './figures.ts';
import { commonOptions, formatOption, positive } from './options.ts';
import { rowPredictor } from './prediction_rows.ts';
import { progress } from './progress.ts';
import { summaryJson } from './validate_report.ts';

interface KernelFlags extends BenchFlags {
  readonly calibration?: string;
  readonly filter?: string;
  readonly shapes: 'real' | 'small' | 'all';
  readonly batch: readonly number[];
  readonly preset?: string;
  readonly format?: ConvertTarget;
  readonly variants?: true;
  readonly footprint?: number;
}

/** A row as it stands in results. */
type JsonRow = Readonly<Record<string, unknown>>;

/** The command's definition. */
export function benchKernelsCommand(): Command {
  const command = new Command('kernels')
    .description('Time single kernels, each checked against its reference first.')
    .option('--filter <text>', "part of a kernel's or a shape's name")
    .addOption(
      new Option('--shapes <set>', 'widths of the released model, or of small presets')
        .choices(['real', 'small', 'all'])
        .default('real'),
    )
    .option('--preset <name>', `only the linear layers, of: ${Object.keys(PRESETS).join(', ')}`)
    .addOption(formatOption('only the linear layers, with weights'))
    .option('--batch <list>', 'tokens of the linear layers', counts, [...DEFAULT_BATCHES])
    .option(
      '--footprint <gigabytes>',
      'memory over which copies of weights and caches take turns (default: 0.4, more than caches hold)',
      positive,
    )
    .option('--variants', 'also variants, and shapes of linear kernels, that plans do not use')
    .option('--adapter <name>', 'part of an adapter name, see: step3 doctor --list')
    .option('--unsafe-fast', "without the bounds checks of Dawn's shader compiler; results say so")
    .option('--calibration <file>', "what step3 calibrate wrote (default: the adapter's in the cache folder)")
    .option('--output <file>', 'append one line of JSON per row to this file');
  return commonOptions(command)
    .addHelpText(
      'after',
      `
GB/s count the bytes that a kernel has to touch, once; weights and caches come from copies that take turns, so that
no cache holds them. Where a model has more than some gigabytes of weights, finding them takes longer than that shows:
--footprint 14 times kernels as its steps find them (at most ${MAX_COPIES} copies). Experts of more than a few tokens
are drawn at random. The percentages refer to what the adapter reached in the same run. Where the adapter is calibrated, the last columns are what the cost model predicts, and by how much
that is off (predicted / measured - 1). The last line is one JSON object, and with --json the only one.

Example:
  step3 bench kernels --filter matvec --batch 1,4 --output kernels.jsonl
  step3 bench kernels --preset step35-flash --format q4_k --batch 1`,
    )
    .action(run);
}

async function run(flags: KernelFlags): Promise<void> {
  const gpu = await openDevice({ adapter: flags.adapter, unsafeFast: flags.unsafeFast });
  const bar = progress('timing', flags.json === true);
  try {
    const cases = benchCases(gpu.caps, {
      filter: flags.filter,
      shapes: flags.shapes,
      preset: flags.preset,
      format: flags.format,
      batches: flags.batch,
      variants: flags.variants === true,
    });
    const predictor = await rowPredictor(gpu, flags.unsafeFast !== true, flags.calibration);
    const pipelines = new PipelineCache(gpu.device);
    const clock = new GpuClock(gpu);
    const { card, ceilings } = await benchCard(gpu, pipelines, clock, flags);
    if (predictor.reason !== undefined) say(flags, table([['predictions', `none: ${predictor.reason}`]]));
    const footprint = flags.footprint === undefined ? undefined : flags.footprint * 1e9;
    const about = flags.footprint === undefined ? {} : { footprint_gb: flags.footprint };
    const rows: JsonRow[] = [];
    const lines: PredictedRow[] = [];
    for await (const row of benchKernels(gpu, pipelines, clock, cases, ceilings, footprint)) {
      // Rows come in the order of the cases.
      const prediction = predictor.compare(cases[lines.length], row);
      const json = jsonRow(row, prediction);
      lines.push({ row, prediction });
      rows.push(json);
      bar.update(lines.length, cases.length);
      if (row.status === 'ok') await appendLine(flags, lineOf(card, { ...json, ...about }));
    }
    bar.stop();
    say(flags, `\n${tableText(lines, predictor.reason === undefined)}\n`);
    const errors = summarise(lines.flatMap(({ prediction }) => prediction ?? []));
    if (errors !== undefined) say(flags, `${errorsText(errors)}\n`);
    printJson({ benchmark: 'kernels', ...card, ...about, errors: summaryJson(errors), rows });
    if (lines.some(({ row }) => row.status === 'failed')) process.exitCode = EXIT.device;
  } finally {
    bar.stop();
    gpu.dispose();
  }
}

/** A row, and what was predicted for it, in microseconds. */
interface PredictedRow {
  readonly row: KernelRow;
  readonly prediction: Compared | undefined;
}

function errorsText({ count, medianPercent, p90Percent }: ErrorSummary): string {
  const [median, p90] = [medianPercent, p90Percent].map((value) => value.toFixed(1));
  return table([['|predicted / us - 1|', `median ${median} %, P90 ${p90} %, of ${count} rows`]]);
}

function jsonRow(row: KernelRow, prediction: Compared | undefined): JsonRow {
  // Places of single tokens say no more than the shape's name.
  const { example: _, ...params } = row.params as { example?: unknown };
  const { kernel, variant, shape, status } = row;
  const named = { kernel, variant, shape, params, status };
  if (row.status !== 'ok') return { ...named, reason: row.reason };
  const { us, p10, p90, samples, dispatches, copies, gbps, tflops } = row;
  return {
    ...named,
    ...{ us, p10, p90, samples, dispatches, copies, gbps, tflops },
    read_percent: row.bandwidthPercent,
    fma_percent: row.flopsPercent,
    predicted_us: prediction?.predicted ?? null,
  };
}

function lineOf(card: BenchCard, row: JsonRow): object {
  const { adapter, driver, date, bounds_checks, ceilings } = card;
  return { benchmark: 'kernels', adapter, driver, date, bounds_checks, ...row, ceilings };
}

function tableText(rows: readonly PredictedRow[], predictions: boolean): string {
  const head = ['kernel', 'variant', 'shape', 'us', 'p10..p90', 'GB/s', 'TFLOP/s', '% read', '% FMA'];
  return columns(
    predictions ? [...head, 'predicted us', '% off'] : head,
    rows.map(({ row, prediction }) => {
      const names = [row.kernel, row.variant, row.shape];
      if (row.status === 'skipped') return [...names, `skipped: ${row.reason}`];
      if (row.status === 'failed') return [...names, `FAILED: ${row.reason}`];
      const spread = `${digits(row.p10)}..${digits(row.p90)}`;
      const rates = [row.gbps, row.tflops].map(digits);
      const percents = [row.bandwidthPercent, row.flopsPercent].map((value) => value.toFixed(1));
      const cells = [...names, digits(row.us), spread, ...rates, ...percents];
      if (!predictions) return cells;
      if (prediction === undefined) return [...cells, '-', '-'];
      return [...cells, digits(prediction.predicted), prediction.errorPercent.toFixed(1)];
    }),
    3,
  );
}
