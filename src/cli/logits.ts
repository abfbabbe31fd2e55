/** `step3 logits`: logits at every position of a sequence of token ids, from file to file. */
import { basename, dirname, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { InputError, Step3Error, WeightError } from '../errors.ts';
import { openModelSource } from '../runtime/load_model.ts';
import { readHeader } from '../weights/safetensors.ts';
import { directorySource } from '../weights/source_node.ts';
import { writeSafetensors } from '../weights/writer_node.ts';
import { commonOptions, type DeviceFlags, deviceOptions, integer, openModel } from './options.ts';
import { progress } from './progress.ts';

interface LogitsFlags extends DeviceFlags {
  readonly model: string;
  readonly input: string;
  readonly output: string;
  readonly mode: 'prefill' | 'decode' | 'chunked';
  readonly chunk?: number;
}

/** The command's definition. */
export function logitsCommand(): Command {
  const command = new Command('logits')
    .description('Logits at every position of given token ids.')
    .requiredOption('--model <dir>', 'checkpoint folder, or its http(s) address')
    .requiredOption('--input <file>', 'safetensors file with input_ids, I32 [T]')
    .requiredOption('--output <file>', 'safetensors file to write: logits, F32 [T, vocab]')
    .addOption(
      new Option(
        '--mode <mode>',
        'prefill: in the usual chunks; chunked: of --chunk tokens; decode: one token a step',
      )
        .choices(['prefill', 'decode', 'chunked'])
        .default('prefill'),
    )
    .option('--chunk <n>', 'tokens per step in mode chunked', integer(1));
  return commonOptions(deviceOptions(command, 'f32'))
    .addHelpText(
      'after',
      '\nExample:\n  step3 logits --model DIR --input ids.safetensors --output logits.safetensors',
    )
    .action(run);
}

async function run(flags: LogitsFlags): Promise<void> {
  if (flags.mode === 'chunked' && flags.chunk === undefined) {
    throw new InputError('chunk', '--chunk with --mode chunked', undefined);
  }
  if (flags.mode !== 'chunked' && flags.chunk !== undefined) {
    throw new InputError('chunk', '--chunk only with --mode chunked', `--mode ${flags.mode}`);
  }
  const tokens = await readTokens(flags.input);
  // The checkpoint first, since the context to be made room for is bounded by its configuration.
  const { checkpoint } = await openModelSource(flags.model);
  const { max_seq_len: most, vocab_size: vocab } = checkpoint.config;
  if (tokens.length > most) {
    await checkpoint.close();
    throw new InputError('input_ids', `at most ${most} tokens (the model's context)`, tokens.length);
  }
  const model = await openModel(checkpoint, flags, { maxContext: Math.max(1, tokens.length) });
  const bar = progress('logits', flags.json === true);
  try {
    const start = performance.now();
    const [logits] = await model.logits([tokens], {
      mode: flags.mode,
      chunk: flags.chunk,
      onProgress: (done, total) => bar.update(done, total),
    });
    const seconds = (performance.now() - start) / 1000;
    bar.stop();
    await writeLogits(flags.output, logits, tokens.length, vocab);
    const adapter = model.executor.name;
    const rate = tokens.length / seconds;
    const facts = { output: flags.output, tokens: tokens.length, vocab, mode: flags.mode, seconds, adapter };
    process.stdout.write(
      flags.json === true
        ? `${JSON.stringify(facts)}\n`
        : `${flags.output}: logits [${tokens.length}, ${vocab}] by ${flags.mode} on ${adapter}, ${rate.toFixed(1)} tokens/s\n`,
    );
  } finally {
    bar.stop();
    model.dispose();
  }
}

/**
 * `input_ids` of a safetensors file.
 *
 * @throws Step3Error with code `input`
 */
async function readTokens(path: string): Promise<number[]> {
  const whole = resolve(path);
  try {
    const file = await directorySource(dirname(whole)).open(basename(whole));
    if (file === undefined) throw new InputError('input', 'a safetensors file', path);
    try {
      const { tensors } = await readHeader(file);
      const ids = tensors.find((tensor) => tensor.name === 'input_ids');
      const names = tensors.map((tensor) => tensor.name);
      if (ids === undefined) throw new InputError('input', `a tensor input_ids in ${path}`, names);
      if (ids.dtype !== 'I32' || ids.shape.length !== 1 || ids.shape[0] === 0) {
        throw new InputError('input_ids', 'I32 [T] with T >= 1', `${ids.dtype} [${ids.shape.join(', ')}]`);
      }
      return [...new Int32Array((await file.read(ids.begin, ids.bytes)).buffer)];
    } finally {
      await file.close();
    }
  } catch (error) {
    // A malformed input file is the caller's input, not the model's weights.
    if (error instanceof WeightError)
      throw new Step3Error('input', error.message, error.facts, { cause: error });
    throw error;
  }
}

async function writeLogits(path: string, logits: Float32Array, tokens: number, vocab: number): Promise<void> {
  const bytes = new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
  await writeSafetensors(path, [
    { name: 'logits', dtype: 'F32', shape: [tokens, vocab], pieces: () => [bytes] },
  ]);
}
