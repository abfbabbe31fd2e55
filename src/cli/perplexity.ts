/** `step3 perplexity`: how well a model predicts a text. */
import { Command } from 'commander';
import { perplexity } from '../runtime/perplexity.ts';
import {
  commonOptions,
  type DeviceFlags,
  deviceOptions,
  integer,
  openModel,
  readTextFile,
} from './options.ts';
import { progress } from './progress.ts';

interface PerplexityFlags extends DeviceFlags {
  readonly model: string;
  readonly text: string;
  readonly window?: number;
}

/** Longest window by default: the logits of one window are in memory at a time. */
const WINDOW = 2048;

/** The command's definition. */
export function perplexityCommand(): Command {
  const command = new Command('perplexity')
    .description('Perplexity and bits per byte of a text file, in windows that do not overlap.')
    .requiredOption('--model <dir>', 'checkpoint folder with a tokenizer, or its http(s) address')
    .requiredOption('--text <file>', 'UTF-8 text; lines <|endoftext|> separate documents')
    .option(
      '--window <n>',
      `tokens per window (default: the model's context, at most ${WINDOW})`,
      integer(2),
    );
  return commonOptions(deviceOptions(command, 'f32'))
    .addHelpText('after', '\nExample:\n  step3 perplexity --model weights/stories --text story.txt --json')
    .action(run);
}

async function run(flags: PerplexityFlags): Promise<void> {
  const text = await readTextFile('text', flags.text);
  const model = await openModel(flags.model, flags, { maxContext: flags.window });
  const window = flags.window ?? Math.min(model.maxContext, WINDOW);
  const bar = progress('perplexity', flags.json === true);
  try {
    const start = performance.now();
    const result = await perplexity(model, text, {
      window,
      onProgress: (done, total) => bar.update(done, total),
    });
    bar.stop();
    const seconds = (performance.now() - start) / 1000;
    if (flags.json === true) {
      console.log(JSON.stringify({ ...result, window, seconds, adapter: model.executor.name }));
      return;
    }
    console.log(`perplexity     ${result.perplexity.toFixed(4)}`);
    console.log(`bits per byte  ${result.bitsPerByte.toFixed(4)}`);
    console.log(`tokens         ${result.tokens} (${result.predicted} predicted, windows of ${window})`);
    console.log(`time           ${seconds.toFixed(1)} s on ${model.executor.name}`);
  } finally {
    bar.stop();
    model.dispose();
  }
}
