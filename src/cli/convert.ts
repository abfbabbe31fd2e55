/** `step3 convert`: writes a model in another weight format. */
import { Command, Option } from 'commander';
import { openModelSource } from '../runtime/load_model.ts';
import { perplexity } from '../runtime/perplexity.ts';
import { convertCheckpoint } from '../weights/convert_node.ts';
import { type ConvertTarget, TARGETS } from '../weights/convert_plan.ts';
import { formatBytes, table } from './figures.ts';
import { commonOptions, type DeviceFlags, deviceOptions, openModel, readTextFile } from './options.ts';
import { progress } from './progress.ts';

/** Most tokens of text whose logits are in memory at a time. */
const WINDOW = 2048;

interface ConvertFlags extends DeviceFlags {
  readonly model: string;
  readonly to: ConvertTarget;
  readonly output: string;
  readonly text?: string;
}

/** The command's definition. */
export function convertCommand(): Command {
  const command = new Command('convert')
    .description('Write a model in another format: a folder of safetensors (bf16, fp8, int4) or a GGUF file.')
    .requiredOption('--model <dir>', 'checkpoint in f32, f16 or bf16: a folder, a .gguf file, or its address')
    .addOption(new Option('--to <format>', 'format of the weights').choices(TARGETS).makeOptionMandatory())
    .requiredOption('--output <path>', 'new folder, or new .gguf file for q8_0, q4_0 and q4_k')
    .option('--text <file>', 'UTF-8 text: print the perplexity on it before and after');
  return commonOptions(deviceOptions(command, 'f32'))
    .addHelpText(
      'after',
      '\nNorms, routers and biases are never quantised. Example:\n  step3 convert --model weights/stories --to q8_0 --output stories.gguf',
    )
    .action(run);
}

async function run(flags: ConvertFlags): Promise<void> {
  const text = flags.text === undefined ? undefined : await readTextFile('text', flags.text);
  const { checkpoint, texts } = await openModelSource(flags.model);
  const bar = progress('converting', flags.json === true);
  const result = await (async () => {
    try {
      return await convertCheckpoint(checkpoint, texts, flags.to, flags.output, {
        onProgress: (done, total) => bar.update(done, total),
      });
    } finally {
      bar.stop();
      await checkpoint.close();
    }
  })();
  const before = text === undefined ? undefined : await measure(flags.model, text, flags);
  const after = text === undefined ? undefined : await measure(flags.output, text, flags);
  if (flags.json === true) {
    const measured = before === undefined ? {} : { perplexity: { before, after } };
    process.stdout.write(`${JSON.stringify({ ...result, ...measured })}\n`);
    return;
  }
  const formats = Object.entries(result.formats).map(([format, count]) => `${count} ${format}`);
  process.stdout.write(
    table([
      ['written', result.path],
      ['weights', `${formatBytes(result.sourceBytes)} → ${formatBytes(result.bytes)}`],
      ['tensors', formats.join(', ')],
      ...(before === undefined || after === undefined
        ? []
        : [['perplexity', `${before.toFixed(4)} → ${after.toFixed(4)}`] as [string, string]]),
    ]),
  );
}

async function measure(model: string, text: string, flags: DeviceFlags): Promise<number> {
  const opened = await openModel(model, flags);
  try {
    const window = Math.min(opened.maxContext, WINDOW);
    return (await perplexity(opened, text, { window })).perplexity;
  } finally {
    opened.dispose();
  }
}
