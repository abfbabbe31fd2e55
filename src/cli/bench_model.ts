/** What benchmarks of a whole model share: which model, how it is opened, a row per case, profiles, results. */
import type { Command } from 'commander';
import type { Ceilings } from '../bench/ceilings.ts';
import { gpuOf } from '../bench/decode.ts';
import type { ProfileRow } from '../bench/profile.ts';
import { cutLayers, type SyntheticOptions } from '../bench/synthetic_model.ts';
import { GpuClock } from '../bench/timing.ts';
import { type ModelConfig, PRESETS, parseConfig, preset } from '../config/index.ts';
import { InputError } from '../errors.ts';
import type { KvFormat } from '../kernels/paged.ts';
import type { Model } from '../runtime/model.ts';
import type { ConvertTarget } from '../weights/convert_plan.ts';
import { appendLine, type BenchFlags, benchCard, columns, digits, printJson, say } from './bench_report.ts';
import { formatBytes } from './figures.ts';
import { readConfigFile } from './json_file.ts';
import { commonOptions, formatOption, integer, kvOption, openModel, openSynthetic } from './options.ts';
import { progress } from './progress.ts';

/** Which model is measured, and how. */
export interface ModelFlags extends BenchFlags {
  readonly model?: string;
  readonly preset?: string;
  readonly config?: string;
  readonly layers?: number;
  readonly format?: ConvertTarget;
  readonly kv: KvFormat;
  readonly profile?: true;
}

/** A benchmark that has a row for every case. */
export interface ModelBench<Case, Row> {
  readonly name: 'decode' | 'prefill';
  /** What the progress bar says. */
  readonly doing: string;
  /** What the model must have room for. */
  readonly size: Pick<SyntheticOptions, 'maxBatch' | 'maxContext' | 'chunk'>;
  /** The cases; `pattern`: whether the weights are one. */
  cases(model: Model, pattern: boolean): readonly Case[];
  measure(model: Model, wanted: Case, ceilings: Ceilings): Promise<Row>;
  profile(model: Model, wanted: Case, ceilings: Ceilings): Promise<ProfileRow[]>;
  /** What tells cases apart, with the names that it has in results. */
  named(wanted: Case): Readonly<Record<string, number>>;
  /** The rest of a row, as it stands in results. */
  json(row: Row): object;
  /** All rows as a table. */
  text(rows: readonly Row[]): string;
}

const DEFAULT_PRESET = 'step3-small';

/** Adds the choice of the model, before the options of the command's own. */
export function sourceOptions(command: Command): Command {
  return command
    .option('--model <dir>', 'checkpoint folder, or its http(s) address')
    .option(
      '--preset <name>',
      `weights that are a pattern: ${Object.keys(PRESETS).join(', ')} (default: ${DEFAULT_PRESET})`,
    )
    .option('--config <file>', 'the same for a config.json of Step-3 or Step-3.5, or the folder that has it')
    .option('--layers <n>', 'only the first n layers of these', integer(1))
    .addOption(formatOption('weights of these'));
}

/** Adds how it is run and where results go, after them; `step`: which step a profile is of. */
export function runOptions(command: Command, step: string): Command {
  return commonOptions(
    command
      .addOption(kvOption('f16'))
      .option('--profile', `also time every call of ${step} on its own`)
      .option('--adapter <name>', 'part of an adapter name, see: step3 doctor --list')
      .option('--unsafe-fast', "without the bounds checks of Dawn's shader compiler; results say so")
      .option('--output <file>', 'append one line of JSON per row to this file'),
  );
}

/**
 * Opens the model, measures the adapter and every case, and prints the results.
 *
 * @throws InputError for flags that exclude each other; otherwise as opening and measuring do.
 */
export async function runModelBench<Case, Row extends Case>(
  flags: ModelFlags,
  bench: ModelBench<Case, Row>,
): Promise<void> {
  const from = source(flags);
  const { name } = from;
  const model = await open(flags, from, bench.size);
  try {
    const executor = gpuOf(model);
    const clock = new GpuClock(executor.gpu);
    const { card, ceilings } = await benchCard(executor.gpu, executor.pipelines, clock, flags);
    const bytes = model.bytes();
    say(flags, `${'model'.padEnd(19)}  ${name}, ${formatBytes(bytes.weights ?? 0)} of weights\n\n`);
    const { adapter, driver, date, bounds_checks, ceilings: rates } = card;
    const about = { benchmark: bench.name, adapter, driver, date, bounds_checks, model: name, kv: flags.kv };
    const jsonRow = (row: Row) => ({ ...bench.named(row), ...bench.json(row) });
    const cases = bench.cases(model, from.config !== undefined);
    const rows: Row[] = [];
    const profiles: { of: Readonly<Record<string, number>>; rows: ProfileRow[] }[] = [];
    const bar = progress(bench.doing, flags.json === true);
    try {
      for (const wanted of cases) {
        const row = await bench.measure(model, wanted, ceilings);
        rows.push(row);
        if (flags.profile) {
          profiles.push({ of: bench.named(wanted), rows: await bench.profile(model, wanted, ceilings) });
        }
        bar.update(rows.length, cases.length);
        await appendLine(flags, { ...about, ...jsonRow(row), ceilings: rates });
      }
    } finally {
      bar.stop();
    }
    say(flags, `${bench.text(rows)}\n`);
    for (const { of, rows } of profiles) {
      const title = Object.entries(of).map(([key, value]) => `${key} ${value}`);
      say(flags, `${title.join(', ')}, by call\n${profileText(rows)}\n`);
    }
    printJson({
      benchmark: bench.name,
      ...card,
      model: name,
      layers: model.config.num_hidden_layers,
      kv: flags.kv,
      bytes: model.bytes(),
      rows: rows.map(jsonRow),
      ...(flags.profile
        ? { profiles: profiles.map(({ of, rows }) => ({ ...of, rows: rows.map(jsonProfile) })) }
        : {}),
    });
  } finally {
    model.dispose();
  }
}

/** A checkpoint, or a configuration whose weights are a pattern. */
interface Source {
  readonly name: string;
  readonly config?: ModelConfig;
}

/** The model that the flags name. */
function source(flags: ModelFlags): Source {
  const beside = (option: string, names: readonly ('preset' | 'config' | 'layers' | 'format')[]) => {
    const other = names.find((name) => flags[name] !== undefined);
    if (other !== undefined) throw new InputError(other, `no such option beside ${option}`, flags[other]);
  };
  if (flags.model !== undefined) {
    beside('--model', ['preset', 'config', 'layers', 'format']);
    return { name: flags.model };
  }
  if (flags.config !== undefined) beside('--config', ['preset']);
  const { name, config } = flags.config === undefined ? named(flags.preset) : configured(flags.config);
  const about = [
    ...(flags.layers === undefined ? [] : [`${flags.layers} layers`]),
    ...(flags.format === undefined ? [] : [flags.format]),
  ];
  return {
    name: about.length === 0 ? name : `${name} (${about.join(', ')})`,
    config: flags.layers === undefined ? config : cutLayers(config, flags.layers),
  };
}

const named = (name = DEFAULT_PRESET) => ({ name, config: preset(name) });

function configured(path: string): { name: string; config: ModelConfig } {
  const { file, name, json } = readConfigFile(path);
  return { name, config: parseConfig(json, file) };
}

async function open(
  flags: ModelFlags,
  { name, config }: Source,
  size: ModelBench<unknown, unknown>['size'],
): Promise<Model> {
  if (config === undefined) return openModel(name, { ...flags, selfTest: true, matrixUnits: true }, size);
  return openSynthetic(config, flags, size);
}

function jsonProfile({ label, kernel, calls, us, gbps, tflops, ...percents }: ProfileRow): object {
  return {
    ...{ label, kernel, calls, us, gbps, tflops },
    share_percent: percents.sharePercent,
    read_percent: percents.readPercent,
    arithmetic_percent: percents.arithmeticPercent,
  };
}

function profileText(rows: readonly ProfileRow[]): string {
  return columns(
    ['call', 'kernel', 'calls', 'us', '% of sum', 'GB/s', '% read', 'TFLOP/s', '% arithmetic'],
    rows.map((row) => [
      row.label,
      row.kernel,
      String(row.calls),
      digits(row.us),
      row.sharePercent.toFixed(1),
      digits(row.gbps),
      row.readPercent.toFixed(1),
      digits(row.tflops),
      row.arithmeticPercent.toFixed(1),
    ]),
    2,
  );
}
