/** Runs a generation and prints it: used by `run` and `demo`. */
import type { GeneratedToken, GenerateSummary } from '../runtime/generate.ts';
import type { Model } from '../runtime/model.ts';
import { EXIT } from './errors.ts';
import { formatMs, formatPurposes, formatRate, speed, table } from './figures.ts';
import { type CommonFlags, type GenerateFlags, sampling } from './options.ts';
import { predictTpot } from './prediction.ts';

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
  flags: GenerateFlags & CommonFlags & { readonly unsafeFast?: true },
): Promise<void> {
  const sequences: Sequence[] = Array.from({ length: batch }, () => ({ tokens: [], text: '' }));
  const { signal, release } = interruptible();
  try {
    const { maxTokens, stop, draft } = flags;
    const options = { ...sampling(flags), maxTokens, stop, draft, signal };
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
    await close(model, next.value, sequences, flags);
    if (signal.aborted) process.exitCode = EXIT.interrupted;
  } finally {
    release();
  }
}

/** Text of a token; its number where the checkpoint has no tokenizer. */
function printable(model: Model, { token, text }: GeneratedToken, first: boolean): string {
  return model.tokenizer === undefined ? `${first ? '' : ','}${token}` : text;
}

async function close(
  model: Model,
  summary: GenerateSummary,
  sequences: readonly Sequence[],
  flags: MeasuredFlags,
): Promise<void> {
  const { json, text } = await measured(model, summary, flags);
  if (flags.json !== true) {
    process.stdout.write(`\n${text}`);
    return;
  }
  const results = sequences.map(({ tokens, text: own }, i) => ({
    tokens,
    ...(model.tokenizer === undefined ? {} : { text: own }),
    finish: summary.finish[i],
  }));
  process.stdout.write(`${JSON.stringify({ sequences: results, ...json })}\n`);
}

/** Flags that say what a measurement is held against. */
type MeasuredFlags = GenerateFlags & CommonFlags & { readonly unsafeFast?: true };

/** What a generation measured: for programs, and as lines for people. */
export async function measured(
  model: Model,
  summary: GenerateSummary,
  flags: MeasuredFlags,
): Promise<{ json: object; text: string }> {
  const figures = speed(summary);
  const batch = summary.finish.length;
  const predicted = await predictTpot(model, {
    batch,
    context: Math.ceil((summary.promptTokens + summary.newTokens / 2) / batch),
    greedy: (flags.temperature ?? 0) === 0,
    boundsChecks: flags.unsafeFast !== true,
  });
  const adapter = model.executor.name;
  const bytes = model.bytes();
  const drafts = draftFigures(summary);
  const json = {
    ...figures,
    ...drafts,
    tpot_predicted_ms: 'ms' in predicted ? predicted.ms : null,
    ...('reason' in predicted ? { tpot_not_predicted: predicted.reason } : {}),
    bytes,
    device: model.executor.kind,
    adapter,
  };
  const text = table([
    ['prefill', `${formatRate(figures.prefill_tokens_per_second)} (${figures.prompt_tokens} tokens)`],
    ['decode', `${formatRate(figures.decode_tokens_per_second)} (${figures.new_tokens} tokens)`],
    drafts === undefined
      ? ['TPOT', `median ${formatMs(figures.tpot_median_ms)}, p99 ${formatMs(figures.tpot_p99_ms)}`]
      : ['drafts', draftText(drafts)],
    ['predicted', 'ms' in predicted ? predictedText(predicted.ms, figures.tpot_median_ms) : predicted.reason],
    ['memory', formatPurposes(bytes)],
    ['adapter', adapter],
  ]);
  return { json, text };
}

/** Figures of speculative decoding, if there was any. */
function draftFigures({ drafts, stepMs, newTokens, finish }: GenerateSummary) {
  if (drafts === undefined) return undefined;
  const { drafted, accepted } = drafts;
  return {
    drafted,
    accepted,
    acceptance_rate: drafted === 0 ? 0 : accepted / drafted,
    steps: stepMs.length,
    tokens_per_step: stepMs.length === 0 ? 0 : (newTokens - finish.length) / stepMs.length,
  };
}

function draftText(drafts: NonNullable<ReturnType<typeof draftFigures>>): string {
  const { drafted, accepted, acceptance_rate, tokens_per_step } = drafts;
  const rate = (100 * acceptance_rate).toFixed(1);
  return `${accepted} of ${drafted} accepted (${rate} %), ${tokens_per_step.toFixed(2)} tokens a step`;
}

function predictedText(ms: number, measured: number | undefined): string {
  if (measured === undefined) return `TPOT ${formatMs(ms)}`;
  const percent = (ms / measured - 1) * 100;
  return `TPOT ${formatMs(ms)}, ${percent < 0 ? '' : '+'}${percent.toFixed(1)} % from the measured median`;
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
