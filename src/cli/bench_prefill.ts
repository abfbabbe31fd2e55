/** `step3 bench prefill`: how long prompts take to be read. */
import { Command } from 'commander';
import { benchPrefill, type PrefillRow } from '../bench/prefill.ts';
import { profilePrefill } from '../bench/profile.ts';
import { type ModelFlags, runModelBench, runOptions, sourceOptions } from './bench_model.ts';
import { columns, counts, digits } from './bench_report.ts';
import { integer } from './options.ts';

interface PrefillFlags extends ModelFlags {
  readonly prompts: readonly number[];
  readonly chunks?: readonly number[];
  readonly rounds: number;
}

/** The command's definition. */
export function benchPrefillCommand(): Command {
  const command = sourceOptions(
    new Command('prefill').description('Time how long a prompt takes until its first new token.'),
  )
    .option('--prompts <list>', 'tokens of a prompt', counts, [256, 1024])
    .option('--chunks <list>', 'tokens per step (default: those that loading takes)', counts)
    .option('--rounds <n>', 'times that a prompt is counted, after one that is not', integer(1), 3);
  return runOptions(command, "the last chunk's step")
    .addHelpText(
      'after',
      `
TTFT is the time to the first token: from the first write until the new token is on the host. The GPU's time is that of
the chunks' steps alone. Arithmetic is the share of the measured rate that the operations of all chunks amount to in that
time: of matrix units where they are used, else of f32 multiply-adds. Medians of the rounds. The last line is one JSON
object, and with --json the only one.

Example:
  step3 bench prefill --preset step3 --layers 6 --prompts 1024,8192 --chunks 256,512`,
    )
    .action(run);
}

function run(flags: PrefillFlags): Promise<void> {
  const { prompts, chunks, rounds } = flags;
  return runModelBench(flags, {
    name: 'prefill',
    doing: 'reading prompts',
    size: {
      maxBatch: 1,
      maxContext: Math.max(...prompts) + 1,
      chunk: chunks === undefined ? undefined : Math.max(...chunks),
    },
    cases: (model) =>
      prompts.flatMap((prompt) => (chunks ?? [model.chunk]).map((chunk) => ({ prompt, chunk, rounds }))),
    measure: benchPrefill,
    profile: profilePrefill,
    named: ({ prompt, chunk }) => ({ prompt, chunk }),
    json: jsonRow,
    text: rowsText,
  });
}

function jsonRow(row: PrefillRow): object {
  return {
    rounds: row.rounds,
    ttft_ms: row.ttftMs,
    gpu_ms: row.gpuMs ?? null,
    tokens_per_second: row.tokensPerSecond,
    flops: row.flops,
    tflops: row.tflops ?? null,
    arithmetic_percent: row.arithmeticPercent ?? null,
    dispatches: row.dispatches,
  };
}

function rowsText(rows: readonly PrefillRow[]): string {
  const head = ['prompt', 'chunk', 'TTFT ms', 'GPU ms', 'tokens/s', 'TFLOP', 'TFLOP/s', 'arithmetic %'];
  return columns(
    [...head, 'dispatches'],
    rows.map((row) => [
      ...[row.prompt, row.chunk].map(String),
      ...[row.ttftMs, row.gpuMs ?? Number.NaN, row.tokensPerSecond].map(digits),
      ...[row.flops / 1e12, row.tflops ?? Number.NaN].map(digits),
      row.arithmeticPercent?.toFixed(1) ?? '-',
      String(row.dispatches),
    ]),
    0,
  );
}
