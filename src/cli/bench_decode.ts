/** `step3 bench decode`: whole decoding steps. */
import { Command } from 'commander';
import { benchDecode, type DecodeCase, type DecodeRow, gpuOf, WARM_STEPS } from '../bench/decode.ts';
import { type ProfileRow, profileDecode } from '../bench/profile.ts';
import { cutLayers } from '../bench/synthetic_model.ts';
import { GpuClock } from '../bench/timing.ts';
import { type ModelConfig, PRESETS, parseConfig, preset } from '../config/index.ts';
import { InputError } from '../errors.ts';
import type { KvFormat } from '../kernels/paged.ts';
import type { Model } from '../runtime/model.ts';
import type { ConvertTarget } from '../weights/convert_plan.ts';
import {
  appendLine,
  type BenchFlags,
  benchCard,
  columns,
  counts,
  digits,
  printJson,
  say,
} from './bench_report.ts';
import { formatBytes } from './figures.ts';
import { readConfigFile } from './json_file.ts';
import { commonOptions, formatOption, integer, kvOption, openModel, openSynthetic } from './options.ts';
import { progress } from './progress.ts';

interface DecodeFlags extends BenchFlags {
  readonly model?: string;
  readonly preset?: string;
  readonly config?: string;
  readonly layers?: number;
  readonly format?: ConvertTarget;
  readonly batches: readonly number[];
  readonly contexts: readonly number[];
  readonly steps: number;
  readonly kv: KvFormat;
  readonly profile?: true;
}

const DEFAULT_PRESET = 'step3-small';

/** The command's definition. */
export function benchDecodeCommand(): Command {
  const command = new Command('decode')
    .description('Time decoding steps over a cache filled with a pattern.')
    .option('--model <dir>', 'checkpoint folder, or its http(s) address')
    .option(
      '--preset <name>',
      `weights that are a pattern: ${Object.keys(PRESETS).join(', ')} (default: ${DEFAULT_PRESET})`,
    )
    .option('--config <file>', 'the same for a config.json of Step-3 or Step-3.5, or the folder that has it')
    .option('--layers <n>', 'only the first n layers of these', integer(1))
    .addOption(formatOption('weights of these'))
    .option('--batches <list>', 'sequences at a time', counts, [1, 4])
    .option('--contexts <list>', 'positions that the first step attends to', counts, [256, 1024])
    .option('--steps <n>', `steps that are counted, after ${WARM_STEPS} that are not`, integer(1), 32)
    .addOption(kvOption('f16'))
    .option('--profile', 'also time every call of a step on its own')
    .option('--adapter <name>', 'part of an adapter name, see: step3 doctor --list')
    .option('--unsafe-fast', "without the bounds checks of Dawn's shader compiler; results say so")
    .option('--output <file>', 'append one line of JSON per row to this file');
  return commonOptions(command)
    .addHelpText(
      'after',
      `
TPOT is the time per output token: between the arrivals of successive steps' tokens. MBU is the share of the measured
read bandwidth that the bytes of a step amount to; idle is the share of TPOT in which the GPU works on no step. The
last line is one JSON object, and with --json the only one.

Example:
  step3 bench decode --preset step3 --layers 6 --batches 1,16 --contexts 4096`,
    )
    .action(run);
}

async function run(flags: DecodeFlags): Promise<void> {
  const from = source(flags);
  const model = await open(flags, from);
  try {
    const executor = gpuOf(model);
    const clock = new GpuClock(executor.gpu);
    const { card, ceilings } = await benchCard(executor.gpu, executor.pipelines, clock, flags);
    const { name } = from;
    const bytes = model.bytes();
    say(flags, `${'model'.padEnd(19)}  ${name}, ${formatBytes(bytes.weights ?? 0)} of weights\n\n`);
    const spread = flags.model === undefined;
    const cases = flags.contexts.flatMap((context) =>
      flags.batches.map((batch): DecodeCase => ({ batch, context, steps: flags.steps, spread })),
    );
    const rows: DecodeRow[] = [];
    const profiles: (DecodeCase & { rows: ProfileRow[] })[] = [];
    const bar = progress('decoding', flags.json === true);
    try {
      for (const wanted of cases) {
        const row = await benchDecode(model, wanted, ceilings);
        rows.push(row);
        if (flags.profile) profiles.push({ ...wanted, rows: await profileDecode(model, wanted, ceilings) });
        bar.update(rows.length, cases.length);
        const { adapter, driver, date, bounds_checks, ceilings: rates } = card;
        const about = {
          benchmark: 'decode',
          adapter,
          driver,
          date,
          bounds_checks,
          model: name,
          kv: flags.kv,
        };
        await appendLine(flags, { ...about, ...jsonRow(row), ceilings: rates });
      }
    } finally {
      bar.stop();
    }
    say(flags, `${rowsText(rows)}\n`);
    for (const { batch, context, rows } of profiles) {
      say(flags, `batch ${batch}, context ${context}, by call\n${profileText(rows)}\n`);
    }
    printJson({
      benchmark: 'decode',
      ...card,
      model: name,
      layers: model.config.num_hidden_layers,
      kv: flags.kv,
      bytes: model.bytes(),
      rows: rows.map(jsonRow),
      ...(flags.profile ? { profiles: profiles.map(jsonProfile) } : {}),
    });
  } finally {
    model.dispose();
  }
}

/** The model that the flags name: a checkpoint, or a configuration whose weights are a pattern. */
function source(flags: DecodeFlags): { name: string; config?: ModelConfig } {
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

async function open(flags: DecodeFlags, { name, config }: ReturnType<typeof source>): Promise<Model> {
  const maxBatch = Math.max(...flags.batches);
  const maxContext = Math.max(...flags.contexts) + flags.steps + WARM_STEPS;
  if (config === undefined) {
    return openModel(name, { ...flags, selfTest: true, matrixUnits: true }, { maxBatch, maxContext });
  }
  return openSynthetic(config, flags, { maxBatch, maxContext });
}

function jsonRow(row: DecodeRow): object {
  return {
    batch: row.batch,
    context: row.context,
    steps: row.steps,
    tpot_median_ms: row.tpotMs,
    tpot_p99_ms: row.tpotP99Ms,
    gpu_ms: row.gpuMs ?? null,
    tokens_per_second: row.tokensPerSecond,
    step_bytes: row.stepBytes,
    mbu_percent: row.mbuPercent,
    dispatches: row.dispatches,
    encode_ms: row.encodeMs,
    idle_percent: row.idlePercent ?? null,
  };
}

function jsonProfile({ batch, context, rows }: DecodeCase & { rows: readonly ProfileRow[] }): object {
  return {
    batch,
    context,
    rows: rows.map(({ label, kernel, calls, us, sharePercent, gbps, readPercent }) => ({
      ...{ label, kernel, calls, us, gbps },
      share_percent: sharePercent,
      read_percent: readPercent,
    })),
  };
}

function rowsText(rows: readonly DecodeRow[]): string {
  const head = ['batch', 'context', 'TPOT ms', 'p99 ms', 'GPU ms', 'tokens/s', 'MBU %', 'dispatches'];
  return columns(
    [...head, 'encode ms', 'idle %'],
    rows.map((row) => [
      ...[row.batch, row.context].map(String),
      ...[row.tpotMs, row.tpotP99Ms, row.gpuMs ?? Number.NaN, row.tokensPerSecond].map(digits),
      row.mbuPercent.toFixed(1),
      String(row.dispatches),
      digits(row.encodeMs),
      row.idlePercent?.toFixed(1) ?? '-',
    ]),
    0,
  );
}

function profileText(rows: readonly ProfileRow[]): string {
  return columns(
    ['call', 'kernel', 'calls', 'us', '% of sum', 'GB/s', '% read'],
    rows.map((row) => [
      row.label,
      row.kernel,
      String(row.calls),
      digits(row.us),
      row.sharePercent.toFixed(1),
      digits(row.gbps),
      row.readPercent.toFixed(1),
    ]),
    2,
  );
}
