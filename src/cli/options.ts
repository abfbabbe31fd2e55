/** Options that commands share, how their values are read, and how a model is opened with them. */
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type SyntheticOptions, syntheticModel } from '../bench/synthetic_model.ts';
import type { ModelConfig } from '../config/index.ts';
import { DeviceError, InputError } from '../errors.ts';
import { KV_FORMATS, type KvFormat } from '../kernels/paged.ts';
import { listAdapters, openDevice } from '../runtime/device.ts';
import { type LoadOptions, loadModel, type ModelSource } from '../runtime/load_model.ts';
import type { Model } from '../runtime/model.ts';
import { PLAIN_CHUNK } from '../runtime/prefill.ts';
import type { SamplingOptions } from '../runtime/sampling.ts';
import { cacheFolderStore } from '../runtime/selftest_node.ts';
import { type ConvertTarget, TARGETS } from '../weights/convert_plan.ts';
import { explainWait, progress } from './progress.ts';

/** Options of every command. */
export interface CommonFlags {
  readonly json?: true;
  readonly verbose?: true;
}

/** Which device runs the model, and how. */
export interface DeviceFlags extends CommonFlags {
  readonly device?: 'gpu' | 'cpu';
  readonly adapter?: string;
  readonly baseline?: true;
  readonly deterministic?: true;
  readonly matrixUnits: boolean;
  readonly unsafeFast?: true;
  readonly kv?: KvFormat;
  readonly selfTest: boolean;
}

/** How a text is continued. */
export interface GenerateFlags {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly seed?: number;
  readonly stop?: string[];
  readonly draft?: number;
}

/** Reads an integer of at least `least`. */
export function integer(least: number): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`Expected an integer >= ${least}.`);
    }
    return value;
  };
}

/** Reads a number; its range is checked where it is used. */
export function number(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
}

/** Reads a number above zero. */
export function positive(text: string): number {
  const value = number(text);
  if (value <= 0) throw new InvalidArgumentError('Expected a number > 0.');
  return value;
}

/** Reads token ids separated by commas. */
export function tokenList(text: string): number[] {
  return text.split(',').map((part) => integer(0)(part.trim()));
}

/** The text of a UTF-8 file that the user named with `--field`; InputError when it cannot be read. */
export async function readTextFile(field: string, file: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    throw new InputError(field, 'a readable UTF-8 file', `${file} (${(cause as Error).message})`);
  }
}

/** Adds `--json` and `--verbose`, last in the help. */
export function commonOptions(command: Command): Command {
  return command
    .option('--json', 'print one JSON object instead of text')
    .option('--verbose', 'show the stack of an error');
}

/** The option for the cache's format. */
export function kvOption(kv: KvFormat): Option {
  return new Option('--kv <format>', 'storage of keys and values; fp8 is e4m3 with a scale per row')
    .choices(KV_FORMATS)
    .default(kv);
}

/** Prompt tokens per step, as commands that generate take them. */
export function chunkOption(): Option {
  const what = `prompt tokens per step (default: ${PLAIN_CHUNK}; with matrix units more, by the number of experts)`;
  return new Option('--chunk <n>', what).argParser(integer(1));
}

/** Formats of weights that are a pattern; `what` begins the description. */
export function formatOption(what: string): Option {
  return new Option('--format <format>', `${what} as step3 convert would leave them`).choices(TARGETS);
}

/** Adds the choice of device and arithmetic. */
export function deviceOptions(command: Command, kv: KvFormat): Command {
  return command
    .addOption(kvOption(kv))
    .addOption(new Option('--device <device>', 'gpu, or the CPU interpreter').choices(['gpu', 'cpu']))
    .option('--adapter <name>', 'part of an adapter name, see: step3 doctor --list')
    .option('--baseline', 'use no optional feature of the adapter')
    .option('--deterministic', 'results do not depend on batch or chunking, bit for bit; slower')
    .option(
      '--no-matrix-units',
      'keep activations in 32 bits where the adapter could multiply 16-bit matrices',
    )
    .option('--unsafe-fast', "without the bounds checks of Dawn's shader compiler")
    .option('--no-self-test', 'do not check the kernels before their first use on an adapter');
}

/** Adds the options of a generation. */
export function generateOptions(command: Command): Command {
  return command
    .option('--max-tokens <n>', 'most new tokens (default: 256)', integer(1))
    .option('--temperature <t>', '0 picks the most probable token (default: 0)', number)
    .option('--top-k <k>', 'keep the k most probable tokens; 0 keeps all', integer(0))
    .option('--top-p <p>', 'keep the fewest tokens that reach this probability', number)
    .option('--min-p <p>', 'keep tokens at least this probable, relative to the best', number)
    .option('--repetition-penalty <r>', 'above 1: makes tokens that were seen less likely', number)
    .option('--seed <n>', 'same seed, same text (default: 0)', integer(0))
    .option('--stop <text>', 'end at this text; may be repeated', (text: string, all: string[] = []) => [
      ...all,
      text,
    ]);
}

/** The sampling part of the flags. */
export function sampling(flags: GenerateFlags): SamplingOptions {
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = flags;
  return { temperature, topK, topP, minP, repetitionPenalty, seed };
}

/** How a model whose weights are a pattern is made. */
interface SyntheticFlags extends CommonFlags {
  readonly adapter?: string;
  readonly unsafeFast?: true;
  readonly kv: KvFormat;
  readonly format?: ConvertTarget;
}

/**
 * Makes a model of a configuration whose weights are a pattern, with a progress bar.
 *
 * @throws as syntheticModel and openDevice.
 */
export async function openSynthetic(
  config: ModelConfig,
  { adapter, unsafeFast, json, kv, format }: SyntheticFlags,
  size: Pick<SyntheticOptions, 'maxBatch' | 'maxContext' | 'chunk'>,
): Promise<Model> {
  const gpu = await openDevice({ adapter, unsafeFast });
  const bar = progress('filling', json === true);
  try {
    const onProgress = (done: number, total: number) => bar.update(done, total);
    return await syntheticModel(gpu, config, {
      ...size,
      ...{ kv, format, selfTestStore: cacheFolderStore(), onProgress },
    });
  } finally {
    bar.stop();
  }
}

/**
 * Loads a model as the flags say, with a progress bar.
 *
 * @throws as loadModel; a missing adapter is reported with the way out of it.
 */
export async function openModel(
  source: ModelSource,
  flags: DeviceFlags,
  options: LoadOptions = {},
): Promise<Model> {
  const bar = progress('loading', flags.json === true);
  const wait = explainWait(
    'compiling kernels: the first run on a software driver takes a while',
    flags.json === true,
  );
  try {
    return await loadModel(source, {
      device: flags.device,
      adapter: flags.adapter,
      baseline: flags.baseline,
      deterministic: flags.deterministic,
      matrixUnits: flags.matrixUnits,
      unsafeFast: flags.unsafeFast,
      kv: flags.kv,
      selfTest: flags.selfTest,
      selfTestStore: cacheFolderStore(),
      onProgress(read, total) {
        wait.stop();
        bar.update(read, total);
      },
      ...options,
    });
  } catch (error) {
    if (error instanceof DeviceError && flags.device !== 'cpu' && !(await hasAdapter())) {
      throw new NoAdapterError(error);
    }
    throw error;
  } finally {
    wait.stop();
    bar.stop();
  }
}

/** There is no adapter at all. */
export class NoAdapterError extends DeviceError {
  constructor(cause: DeviceError) {
    super(
      'no WebGPU adapter found: --device cpu runs without one, and step3 doctor says how to get one',
      cause.facts,
      { cause },
    );
  }
}

async function hasAdapter(): Promise<boolean> {
  try {
    return (await listAdapters()).length > 0;
  } catch {
    return false;
  }
}
