/** `step3 synth`: writes a checkpoint of seeded random weights. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { Command, Option } from 'commander';
import { type ModelConfig, PRESETS, parseConfig } from '../config/index.ts';
import { ConfigError, InputError } from '../errors.ts';
import type { PlainFormat } from '../tensor.ts';
import { parseStrictJson } from '../weights/json.ts';
import { writeCheckpoint } from '../weights/synth_node.ts';
import { syntheticCheckpoint } from '../weights/synthetic.ts';
import { formatBytes } from './figures.ts';
import { type CommonFlags, commonOptions, integer } from './options.ts';
import { progress } from './progress.ts';

interface SynthFlags extends CommonFlags {
  readonly config: string;
  readonly output: string;
  readonly seed: number;
  readonly dtype?: PlainFormat;
  readonly force?: true;
}

/** The command's definition. */
export function synthCommand(): Command {
  const command = new Command('synth')
    .description('Write a checkpoint of seeded random weights, with a byte-level tokenizer.')
    .requiredOption('--config <file|preset>', `a config.json, or ${Object.keys(PRESETS).join(', ')}`)
    .requiredOption('--output <dir>', 'folder to write')
    .requiredOption('--seed <n>', 'same seed, same weights', integer(0))
    .addOption(
      new Option('--dtype <type>', "element type (default: the configuration's)").choices([
        'bf16',
        'f16',
        'f32',
      ]),
    )
    .option('--force', 'replace a checkpoint in a folder that is not empty');
  return commonOptions(command)
    .addHelpText('after', '\nExample:\n  step3 synth --config step3-tiny --output /tmp/tiny --seed 1')
    .action(run);
}

async function run(flags: SynthFlags): Promise<void> {
  const checkpoint = syntheticCheckpoint(await readConfig(flags.config), flags.seed, flags.dtype);
  const bar = progress('writing', flags.json === true);
  try {
    await writeCheckpoint(checkpoint, flags.output, {
      force: flags.force === true,
      onProgress: (written, total) => bar.update(written, total),
    });
  } finally {
    bar.stop();
  }
  const { bytes, weights } = checkpoint;
  process.stdout.write(
    flags.json === true
      ? `${JSON.stringify({ output: flags.output, seed: flags.seed, tensors: weights.size, bytes })}\n`
      : `${flags.output}: ${weights.size} tensors, ${formatBytes(bytes)} of random weights (seed ${flags.seed})\n`,
  );
}

async function readConfig(name: string): Promise<ModelConfig> {
  if (Object.hasOwn(PRESETS, name)) return PRESETS[name];
  let text: string;
  try {
    text = await readFile(name, 'utf8');
  } catch {
    throw new InputError('config', `a readable file, or one of ${Object.keys(PRESETS).join(', ')}`, name);
  }
  const file = basename(name);
  const json = parseStrictJson(text, (expected, found) => {
    throw new ConfigError('config', expected, found, file);
  });
  return parseConfig(json, file);
}
