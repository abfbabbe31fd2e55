/** The results of a validation: JSON, tables for people, a Markdown report. */
import { type ErrorSummary, summarise, type ValidatedStep } from '../bench/validate.ts';
import { type Calibration, calibrationNotes } from '../cost/calibration.ts';
import { columns, digits } from './bench_report.ts';
import { PARTS, type PlotStep, partOf } from './validate_plots.ts';

/** A step with the name of its model. */
export type NamedStep = ValidatedStep & { readonly model: string };

/** All errors of a sweep. */
export interface Summaries {
  readonly gpu: ErrorSummary | undefined;
  readonly tpot: ErrorSummary | undefined;
  readonly calls: ErrorSummary | undefined;
  readonly families: Readonly<Record<string, ErrorSummary>>;
}

/** Errors over steps, over calls (each name of each step once), and over the calls of each family. */
export function summaries(steps: readonly ValidatedStep[]): Summaries {
  const calls = steps.flatMap((step) => step.calls);
  const families: Record<string, ErrorSummary> = {};
  for (const family of [...new Set(calls.map((call) => call.family))].sort()) {
    const summary = summarise(calls.filter((call) => call.family === family));
    if (summary !== undefined) families[family] = summary;
  }
  return {
    gpu: summarise(steps.flatMap(({ gpuMs }) => gpuMs ?? [])),
    tpot: summarise(steps.map(({ tpotMs }) => tpotMs)),
    calls: summarise(calls),
    families,
  };
}

/** Errors of a sweep as they stand in JSON. */
export function summaryJson(summary: ErrorSummary | undefined): object | null {
  if (summary === undefined) return null;
  const { count, medianPercent, p90Percent, worstPercent } = summary;
  return { count, median_percent: medianPercent, p90_percent: p90Percent, worst_percent: worstPercent };
}

/** The whole as one object. */
export function validationJson(steps: readonly NamedStep[], calibration: Calibration, about: object): object {
  const { gpu, tpot, calls, families } = summaries(steps);
  return {
    benchmark: 'validate',
    ...about,
    calibration: {
      adapter: calibration.adapter,
      date: calibration.date,
      notes: calibrationNotes(calibration),
    },
    errors: {
      gpu: summaryJson(gpu),
      tpot: summaryJson(tpot),
      calls: summaryJson(calls),
      families: Object.fromEntries(Object.entries(families).map(([name, each]) => [name, summaryJson(each)])),
    },
    steps: steps.map(stepJson),
  };
}

function stepJson(step: NamedStep): object {
  const { prediction } = step;
  return {
    ...{ model: step.model, batch: step.batch, context: step.context, steps: step.steps },
    dispatches: step.dispatches,
    gpu_ms: step.gpuMs?.measured ?? null,
    gpu_predicted_ms: prediction.gpuMs,
    gpu_error_percent: step.gpuMs?.errorPercent ?? null,
    tpot_ms: step.tpotMs.measured,
    tpot_predicted_ms: prediction.tpotMs,
    tpot_error_percent: step.tpotMs.errorPercent,
    host_ms: step.hostMs.measured,
    host_predicted_ms: prediction.hostMs,
    tokens_per_second: step.tokensPerSecond,
    tokens_per_second_predicted: prediction.tokensPerSecond,
    bytes: prediction.bytes,
    flops: prediction.flops,
    mbu_percent: step.mbuPercent,
    mbu_predicted_percent: prediction.mbuPercent,
    mfu_percent: step.mfuPercent,
    mfu_predicted_percent: prediction.mfuPercent,
    bound: prediction.bound,
    bound_percent: prediction.boundPercent,
    experts_expected: step.experts?.expected ?? null,
    experts_chosen: step.experts?.chosen ?? null,
    calls: step.calls.map((call) => ({
      ...{
        label: call.label,
        kernel: call.kernel,
        family: call.family,
        calls: call.calls,
        bound: call.bound,
      },
      us: call.measured,
      predicted_us: call.predicted,
      error_percent: call.errorPercent,
    })),
  };
}

const signed = (percent: number) => `${percent > 0 ? '+' : ''}${percent.toFixed(1)}`;

const STEP_HEAD = [
  'model',
  'batch',
  'context',
  'GPU ms',
  'predicted',
  'error %',
  'TPOT ms',
  'predicted',
  'error %',
];
const STEP_MORE = ['tokens/s', 'MBU %', 'MFU %', 'bound by', 'experts', 'expected'];

function stepCells(step: NamedStep): string[] {
  const { gpuMs, tpotMs, prediction, experts } = step;
  return [
    ...[step.model, String(step.batch), String(step.context)],
    gpuMs === undefined ? '-' : digits(gpuMs.measured),
    digits(prediction.gpuMs),
    gpuMs === undefined ? '-' : signed(gpuMs.errorPercent),
    ...[digits(tpotMs.measured), digits(tpotMs.predicted), signed(tpotMs.errorPercent)],
    ...[
      digits(step.tokensPerSecond),
      step.mbuPercent.toFixed(1),
      step.mfuPercent.toFixed(1),
      prediction.bound,
    ],
    ...(experts === undefined ? ['-', '-'] : [digits(experts.chosen), digits(experts.expected)]),
  ];
}

/** The calls of one step as a table. */
export function callsText(step: NamedStep): string {
  return columns(
    ['call', 'family', 'calls', 'us', 'predicted', 'error %', 'bound by'],
    step.calls.map((call) => [
      ...[call.label, call.family, String(call.calls), digits(call.measured), digits(call.predicted)],
      ...[signed(call.errorPercent), call.bound],
    ]),
    2,
  );
}

/** Steps and errors as tables. */
export function stepsText(steps: readonly NamedStep[]): string {
  return `${columns([...STEP_HEAD, ...STEP_MORE], steps.map(stepCells), 1)}\n${errorsText(summaries(steps))}`;
}

function errorRows({ gpu, tpot, calls, families }: Summaries): string[][] {
  const named: [string, ErrorSummary | undefined][] = [
    ['steps, GPU', gpu],
    ['steps, TPOT', tpot],
    ['calls', calls],
    ...Object.entries(families),
  ];
  return named.flatMap(([name, summary]) =>
    summary === undefined
      ? []
      : [
          [
            name,
            String(summary.count),
            ...[summary.medianPercent, summary.p90Percent, summary.worstPercent].map((p) => p.toFixed(1)),
          ],
        ],
  );
}

const ERROR_HEAD = ['|error| %', 'count', 'median', 'p90', 'worst'];

function errorsText(all: Summaries): string {
  return columns(ERROR_HEAD, errorRows(all), 1);
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[], text: number): string {
  const rule = head.map((_, i) => (i < text ? '---' : '---:'));
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** The report; `plots`: file names of the scatter and the stacked plot. */
export function reportMarkdown(
  steps: readonly NamedStep[],
  calibration: Calibration,
  plots: readonly [string, string],
): string {
  const { adapter } = calibration;
  const name = [adapter.device, adapter.description].filter((part) => part !== '').join(', ');
  return `# Predicted and measured decoding

${name}. Calibrated ${calibration.date} on probes whose shapes no model has; every prediction was made before its
measurement. Errors are predicted / measured - 1.
${calibrationNotes(calibration)
  .map((note) => `\nNote: ${note}.\n`)
  .join('')}
## Errors

${markdownTable(ERROR_HEAD, errorRows(summaries(steps)), 1)}

## Steps

GPU: timestamps around a step. TPOT: between the arrivals of successive steps' tokens. Experts: distinct ones that a
step's tokens chose in a layer, and how many even routing lets expect.

${markdownTable([...STEP_HEAD, ...STEP_MORE], steps.map(stepCells), 1)}

![predicted against measured](${plots[0]})

![where the time goes](${plots[1]})

## Calls

${steps
  .filter((step) => step.calls.length > 0)
  .map(
    (step) =>
      `### ${step.model}, batch ${step.batch}, context ${step.context}\n\n${markdownTable(
        ['call', 'family', 'calls', 'µs', 'predicted', 'error %', 'bound by'],
        step.calls.map((call) => [
          ...[`\`${call.label}\``, call.family, String(call.calls), digits(call.measured)],
          ...[digits(call.predicted), signed(call.errorPercent), call.bound],
        ]),
        2,
      )}`,
  )
  .join('\n\n')}
`;
}

/** What the plots show of a step. */
export function plotStep(step: NamedStep): PlotStep {
  const measuredParts = PARTS.map(() => 0);
  const predictedParts = PARTS.map(() => 0);
  for (const { label, measured } of step.calls) measuredParts[partOf(label)] += measured / 1e3;
  for (const { label, us } of step.prediction.calls) predictedParts[partOf(label)] += us / 1e3;
  const measured = step.gpuMs ?? step.tpotMs;
  const sum = measuredParts.reduce((a, b) => a + b, 0);
  measuredParts[PARTS.length - 1] = Math.max(0, measured.measured - sum);
  return {
    ...{ model: step.model, batch: step.batch, context: step.context },
    ...{ measured: measured.measured, predicted: measured.predicted, measuredParts, predictedParts },
  };
}
