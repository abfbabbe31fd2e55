/** `step3 demo`: shows the program at work without any preparation; `npm start` runs it. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { preset } from '../config/index.ts';
import type { Model } from '../runtime/model.ts';
import { writeCheckpoint } from '../weights/synth_node.ts';
import { syntheticCheckpoint } from '../weights/synthetic.ts';
import { runGeneration } from './generation.ts';
import {
  commonOptions,
  type DeviceFlags,
  deviceOptions,
  type GenerateFlags,
  generateOptions,
  NoAdapterError,
  openModel,
} from './options.ts';

interface DemoFlags extends DeviceFlags, GenerateFlags {
  readonly prompt?: string;
}

const STORIES = fileURLToPath(new URL('../../weights/stories', import.meta.url));

/** The interpreter is slow: enough tokens to be seen. */
const CPU_TOKENS = 24;

/** The command's definition. */
export function demoCommand(): Command {
  const command = new Command('demo')
    .description(
      'Continue a built-in prompt with the model in weights/stories, or with random weights when it is absent.',
    )
    .option('--prompt <text>', 'text to continue');
  return commonOptions(deviceOptions(generateOptions(command), 'f16'))
    .addHelpText('after', '\nExample:\n  step3 demo --prompt "The little dragon" --seed 7')
    .action(run);
}

async function run(flags: DemoFlags): Promise<void> {
  if (existsSync(join(STORIES, 'model.safetensors'))) {
    await show(STORIES, 'Once upon a time', 200, flags);
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), 'step3-demo-'));
  try {
    await writeCheckpoint(syntheticCheckpoint(preset('step3-tiny'), 1), folder);
    say(
      'weights/stories has no model: the preset step3-tiny with random weights shows the machinery, not a language',
    );
    await show(folder, 'Hello', 64, flags);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function show(folder: string, prompt: string, tokens: number, flags: DemoFlags): Promise<void> {
  const model = await openAnywhere(folder, flags);
  try {
    const maxTokens =
      flags.maxTokens ?? (model.executor.kind === 'cpu' ? Math.min(tokens, CPU_TOKENS) : tokens);
    const { temperature = 0.7, topP = 0.9, seed = 1 } = flags;
    const defaults = { maxTokens, temperature, topP, seed };
    await runGeneration(model, flags.prompt ?? prompt, 1, { ...flags, ...defaults });
  } finally {
    model.dispose();
  }
}

/** On an adapter, or on the CPU when there is none and the user did not ask for one. */
async function openAnywhere(folder: string, flags: DemoFlags): Promise<Model> {
  try {
    return await openModel(folder, flags, { maxContext: 512 });
  } catch (error) {
    if (!(error instanceof NoAdapterError) || flags.device !== undefined) throw error;
    say('no WebGPU adapter found: running on the CPU interpreter, which is slow (see: step3 doctor)');
    return await openModel(folder, { ...flags, device: 'cpu' }, { maxContext: 512 });
  }
}

/** Remarks go to stderr, so that stdout holds the result alone. */
function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
