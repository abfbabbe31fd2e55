/** Runs a generation and prints it: used by `run` and `demo`. */
import type { GeneratedToken, GenerateSummary } from '../runtime/generate.ts';
import type { Model } from '../runtime/model.ts';
import { EXIT } from './errors.ts';
import { formatMs, formatPurposes, formatRate, speed, table } from './figures.ts';
import { type CommonFlags, type GenerateFlags, sampling } from './options.ts';

/** A prompt as text or as token ids. */
export type Prompt = string | readonly number[];

interface Sequence {
  readonly tokens: number[];
  text: string;
}

/** Continues `prompt` in `batch` sequences; prints text as it comes and figures at the end, or one JSON object. */
export async function runGeneration(
  model: Model,
  prompt: Prompt,
  batch: number,
  flags: GenerateFlags & CommonFlags,
): Promise<void> {
  const sequences: Sequence[] = Array.from({ length: batch }, () => ({ tokens: [], text: '' }));
  const { signal, release } = interruptible();
  try {
    const options = { ...sampling(flags), maxTokens: flags.maxTokens, stop: flags.stop, signal };
    const generated = model.generateBatch(Array<Prompt>(batch).fill(prompt), options);
    const stream = flags.json !== true && batch === 1;
    let next = await generated.next();
    // Only now, when the prompt has been accepted.
    if (stream && typeof prompt === 'string') process.stdout.write(prompt);
    for (; next.done !== true; next = await generated.next()) {
      const { sequence, token } = next.value;
      const text = printable(model, next.value, sequences[sequence].tokens.length === 0);
      sequences[sequence].tokens.push(token);
      sequences[sequence].text += text;
      if (stream) process.stdout.write(text);
      else if (flags.json !== true && next.value.finish !== undefined) {
        process.stdout.write(`--- sequence ${sequence}\n${sequences[sequence].text}\n`);
      }
    }
    if (stream) process.stdout.write('\n');
    close(model, next.value, sequences, flags);
    if (signal.aborted) process.exitCode = EXIT.interrupted;
  } finally {
    release();
  }
}

/** Text of a token; its number where the checkpoint has no tokenizer. */
function printable(model: Model, { token, text }: GeneratedToken, first: boolean): string {
  return model.tokenizer === undefined ? `${first ? '' : ','}${token}` : text;
}

function close(
  model: Model,
  summary: GenerateSummary,
  sequences: readonly Sequence[],
  flags: CommonFlags,
): void {
  if (flags.json !== true) {
    process.stdout.write(`\n${figuresText(model, summary)}`);
    return;
  }
  const results = sequences.map(({ tokens, text }, i) => ({
    tokens,
    ...(model.tokenizer === undefined ? {} : { text }),
    finish: summary.finish[i],
  }));
  process.stdout.write(`${JSON.stringify({ sequences: results, ...figuresJson(model, summary) })}\n`);
}

/** What a generation measured, for programs. */
export function figuresJson(model: Model, summary: GenerateSummary): object {
  return {
    ...speed(summary),
    bytes: model.bytes(),
    device: model.executor.kind,
    adapter: model.executor.name,
  };
}

/** What a generation measured, for people. */
export function figuresText(model: Model, summary: GenerateSummary): string {
  const figures = speed(summary);
  return table([
    ['prefill', `${formatRate(figures.prefill_tokens_per_second)} (${figures.prompt_tokens} tokens)`],
    ['decode', `${formatRate(figures.decode_tokens_per_second)} (${figures.new_tokens} tokens)`],
    ['TPOT', `median ${formatMs(figures.tpot_median_ms)}, p99 ${formatMs(figures.tpot_p99_ms)}`],
    ['memory', formatPurposes(model.bytes())],
    ['adapter', model.executor.name],
  ]);
}

/** Ctrl-C ends the generation after the token at hand; a second one ends the process. */
export function interruptible(): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const onInterrupt = () => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort();
  };
  process.on('SIGINT', onInterrupt);
  return { signal: controller.signal, release: () => process.off('SIGINT', onInterrupt) };
}
