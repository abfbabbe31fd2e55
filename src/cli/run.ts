/** `step3 run`: continues a prompt. */
import { Command } from 'commander';
import { InputError } from '../errors.ts';
import { runChat } from './chat.ts';
import { runGeneration } from './generation.ts';
import {
  chunkOption,
  commonOptions,
  type DeviceFlags,
  deviceOptions,
  type GenerateFlags,
  generateOptions,
  integer,
  openModel,
  tokenList,
} from './options.ts';

interface RunFlags extends DeviceFlags, GenerateFlags {
  readonly model: string;
  readonly prompt?: string;
  readonly tokens?: number[];
  readonly chat?: true;
  readonly system?: string;
  readonly raw?: true;
  readonly batch: number;
  readonly context?: number;
  readonly chunk?: number;
}

/** The command's definition. */
export function runCommand(): Command {
  const command = new Command('run')
    .description('Continue a prompt; streams text, then prints what was measured.')
    .requiredOption('--model <dir>', 'checkpoint folder, or its http(s) address')
    .option('--prompt <text>', 'text to continue')
    .option('--tokens <ids>', 'token ids to continue instead, e.g. 1,2,3', tokenList)
    .option('--chat', "make the prompt a user's turn, by the checkpoint's chat template")
    .option('--system <text>', 'system prompt, with --chat')
    .option('--raw', 'take the prompt as it is (the default)');
  generateOptions(command)
    .option(
      '--batch <n>',
      'continue the prompt n times at once, with seeds from --seed upwards',
      integer(1),
      1,
    )
    .option(
      '--draft <n>',
      'draft up to n tokens a step with multi-token-prediction blocks; same result as without',
      integer(0),
    )
    .option('--context <n>', "most positions of a sequence (default: the model's, at most 4096)", integer(1))
    .addOption(chunkOption());
  return commonOptions(deviceOptions(command, 'f16'))
    .addHelpText(
      'after',
      '\nExample:\n  step3 run --model weights/stories --prompt "Once upon a time" --temperature 0.7',
    )
    .action(run);
}

async function run(flags: RunFlags): Promise<void> {
  if (flags.chat === true) return runAsChat(flags);
  if (flags.system !== undefined) throw new InputError('system', '--chat with --system', undefined);
  const prompt = flags.prompt ?? flags.tokens;
  if (prompt === undefined) throw new InputError('prompt', '--prompt or --tokens', undefined);
  if (flags.prompt !== undefined && flags.tokens !== undefined) {
    throw new InputError('prompt', 'one of --prompt and --tokens', 'both');
  }
  const model = await openModel(flags.model, flags, {
    maxBatch: flags.batch,
    maxContext: flags.context,
    chunk: flags.chunk,
    draft: flags.draft,
  });
  try {
    await runGeneration(model, prompt, flags.batch, flags);
  } finally {
    model.dispose();
  }
}

/** One turn, as `step3 chat` answers it. */
async function runAsChat(flags: RunFlags): Promise<void> {
  if (flags.raw === true) throw new InputError('chat', 'one of --chat and --raw', 'both');
  if (flags.prompt === undefined) throw new InputError('prompt', '--prompt with --chat', undefined);
  if (flags.tokens !== undefined) throw new InputError('tokens', 'no --tokens with --chat', flags.tokens);
  if (flags.batch !== 1) throw new InputError('batch', '1 with --chat', flags.batch);
  await runChat({ ...flags, thinking: true });
}
