/** `step3 validate`: predicts decoding, measures it, and says how far off the prediction was. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { WARM_STEPS } from '../bench/decode.ts';
import { cutLayers } from '../bench/synthetic_model.ts';
import { validateStep } from '../bench/validate.ts';
import { PRESETS, preset } from '../config/index.ts';
import type { Calibration } from '../cost/calibration.ts';
import { InputError } from '../errors.ts';
import type { KvFormat } from '../kernels/paged.ts';
import { openDevice } from '../runtime/device.ts';
import { openModelSource } from '../runtime/load_model.ts';
import type { Model } from '../runtime/model.ts';
import type { ConvertTarget } from '../weights/convert_plan.ts';
import { counts, printJson, say } from './bench_report.ts';
import { calibrationFile, calibrationFor, readCalibration, rounded } from './calibration_store.ts';
import { table } from './figures.ts';
import {
  type CommonFlags,
  commonOptions,
  formatOption,
  integer,
  kvOption,
  openModel,
  openSynthetic,
} from './options.ts';
import { progress } from './progress.ts';
import { scatterPlot, stackPlot } from './validate_plots.ts';
import {
  callsText,
  type NamedStep,
  plotStep,
  reportMarkdown,
  stepsText,
  validationJson,
} from './validate_report.ts';

interface ValidateFlags extends CommonFlags {
  readonly model: string;
  readonly calibration?: string;
  readonly format?: ConvertTarget;
  readonly batches: readonly number[];
  readonly contexts: readonly number[];
  readonly steps: number;
  readonly kv: KvFormat;
  readonly calls?: true;
  readonly adapter?: string;
  readonly unsafeFast?: true;
  readonly output: string;
}

/** The command's definition. */
export function validateCommand(): Command {
  const command = new Command('validate')
    .description('Predict decoding from the calibration, then measure it, over a sweep.')
    .option(
      '--model <list>',
      `checkpoint folders, or presets with weights that are a pattern (${Object.keys(PRESETS).join(', ')}), with :n for their first n layers; separated by commas`,
      'step3-small',
    )
    .addOption(formatOption('weights of presets'))
    .option('--calibration <file>', "what step3 calibrate wrote (default: the adapter's in the cache folder)")
    .option('--batches <list>', 'sequences at a time', counts, [1, 4, 16, 64])
    .option(
      '--contexts <list>',
      'positions attended to; those past a model are left out',
      counts,
      [256, 2048],
    )
    .option('--steps <n>', `steps that are counted, after ${WARM_STEPS} that are not`, integer(2), 24)
    .addOption(kvOption('f16'))
    .option('--calls', 'also print every call of every step')
    .option('--adapter <name>', 'part of an adapter name, see: step3 doctor --list')
    .option('--unsafe-fast', "without the bounds checks of Dawn's shader compiler")
    .option('--output <folder>', 'where validate.json, validate.md and the plots go', 'step3-validation');
  return commonOptions(command)
    .addHelpText(
      'after',
      `
Calls are timed in passes of their own, less what these take beyond the step. The error is predicted / measured - 1.

Example:
  step3 validate --model step3-mini,weights/stories,step3:6 --batches 1,16 --contexts 256,4096`,
    )
    .action(run);
}

async function run(flags: ValidateFlags): Promise<void> {
  const names = flags.model.split(',').map((name) => name.trim());
  const steps: NamedStep[] = [];
  const calibration = await neededCalibration(flags);
  const bar = progress('validating', flags.json === true);
  const cases = names.length * flags.batches.length * flags.contexts.length;
  try {
    for (const [at, name] of names.entries()) {
      const { model, contexts, spread } = await open(name, flags);
      const named = flags.format === undefined ? name : `${name} (${flags.format})`;
      try {
        for (const context of contexts) {
          for (const batch of flags.batches) {
            const wanted = { batch, context, steps: flags.steps, spread };
            steps.push({ model: named, ...(await validateStep(model, wanted, calibration)) });
            bar.update(Math.max(steps.length, at * flags.batches.length * flags.contexts.length), cases);
          }
        }
      } finally {
        model.dispose();
      }
    }
  } finally {
    bar.stop();
  }
  const about = { date: new Date().toISOString(), kv: flags.kv, bounds_checks: flags.unsafeFast !== true };
  const json = validationJson(steps, calibration, about);
  await writeReport(flags.output, steps, calibration, json);
  if (flags.calls === true) {
    for (const step of steps) {
      say(flags, `${step.model}, batch ${step.batch}, context ${step.context}\n${callsText(step)}\n`);
    }
  }
  say(flags, `${stepsText(steps)}\n${table([['written to', flags.output]])}`);
  if (flags.json === true) printJson(json);
}

async function writeReport(
  folder: string,
  steps: readonly NamedStep[],
  calibration: Calibration,
  json: object,
): Promise<void> {
  const adapter = calibration.adapter.device || calibration.adapter.description;
  const plots = steps.map(plotStep);
  const files = { scatter: 'validate-scatter.svg', stack: 'validate-steps.svg' };
  await mkdir(folder, { recursive: true });
  await Promise.all([
    writeFile(join(folder, 'validate.json'), `${JSON.stringify(json, rounded)}\n`),
    writeFile(join(folder, files.scatter), scatterPlot(plots, adapter)),
    writeFile(join(folder, files.stack), stackPlot(plots, adapter)),
    writeFile(join(folder, 'validate.md'), reportMarkdown(steps, calibration, [files.scatter, files.stack])),
  ]);
}

/**
 * The calibration that the flags name, or the adapter's own.
 *
 * @throws InputError when there is none, or it is another adapter's.
 */
async function neededCalibration(flags: ValidateFlags): Promise<Calibration> {
  const checks = flags.unsafeFast !== true;
  // What is no calibration is told before a device is opened.
  const given = flags.calibration === undefined ? undefined : await readCalibration(flags.calibration);
  const gpu = await openDevice({ adapter: flags.adapter, unsafeFast: flags.unsafeFast });
  try {
    const found = await calibrationFor(gpu, checks, given);
    if (found !== undefined) return found;
    const file = calibrationFile(gpu, checks);
    throw new InputError('calibration', `what step3 calibrate writes, in ${file}`, 'no file');
  } finally {
    gpu.dispose();
  }
}

/** A preset's first layers, or a checkpoint; with the contexts that it has room for. */
async function open(
  name: string,
  flags: ValidateFlags,
): Promise<{ model: Model; contexts: readonly number[]; spread: boolean }> {
  const maxBatch = Math.max(...flags.batches);
  const [base, layers] = name.split(':');
  const known = Object.hasOwn(PRESETS, base);
  if (!known) {
    if (flags.format !== undefined) {
      throw new InputError('format', `no such option for a checkpoint (${name})`, flags.format);
    }
    const contexts = fitting(flags, await mostPositions(name));
    const maxContext = Math.max(...contexts) + flags.steps + WARM_STEPS;
    const device = { ...flags, selfTest: true, matrixUnits: true };
    return { model: await openModel(name, device, { maxBatch, maxContext }), contexts, spread: false };
  }
  const whole = preset(base);
  const config = layers === undefined ? whole : cutLayers(whole, Number(layers));
  const contexts = fitting(flags, config.max_seq_len);
  const maxContext = Math.max(...contexts) + flags.steps + WARM_STEPS;
  return {
    model: await openSynthetic(config, flags, { maxBatch, maxContext, chunk: 1 }),
    contexts,
    spread: true,
  };
}

/** The contexts that leave room for all steps; InputError when there is none. */
function fitting({ contexts, steps }: ValidateFlags, most: number): number[] {
  const room = most - steps - WARM_STEPS;
  const found = contexts.filter((context) => context <= room);
  if (found.length === 0) throw new InputError('contexts', `at most ${room}`, contexts);
  return found;
}

/** Positions that a checkpoint's model has. */
async function mostPositions(folder: string): Promise<number> {
  const { checkpoint } = await openModelSource(folder);
  await checkpoint.close();
  return checkpoint.config.max_seq_len;
}
