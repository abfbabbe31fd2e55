/** `step3 bench decode`: whole decoding steps. */
import { Command } from 'commander';
import { benchDecode, type DecodeRow, WARM_STEPS } from '../bench/decode.ts';
import { profileDecode } from '../bench/profile.ts';
import { type ModelFlags, runModelBench, runOptions, sourceOptions } from './bench_model.ts';
import { columns, counts, digits } from './bench_report.ts';
import { integer } from './options.ts';

interface DecodeFlags extends ModelFlags {
  readonly batches: readonly number[];
  readonly contexts: readonly number[];
  readonly steps: number;
}

/** The command's definition. */
export function benchDecodeCommand(): Command {
  const command = sourceOptions(
    new Command('decode').description('Time decoding steps over a cache filled with a pattern.'),
  )
    .option('--batches <list>', 'sequences at a time', counts, [1, 4])
    .option('--contexts <list>', 'positions that the first step attends to', counts, [256, 1024])
    .option('--steps <n>', `steps that are counted, after ${WARM_STEPS} that are not`, integer(1), 32);
  return runOptions(command, 'a step')
    .addHelpText(
      'after',
      `
TPOT is the time per output token: between the arrivals of successive steps' tokens. MBU is the share of the measured
read bandwidth that the bytes of a step amount to; idle is the share of TPOT in which the GPU works on no step. The
last line is one JSON object, and with --json the only one.

Example:
  step3 bench decode --preset step3 --layers 6 --batches 1,16 --contexts 4096`,
    )
    .action(run);
}

function run(flags: DecodeFlags): Promise<void> {
  const { batches, contexts, steps } = flags;
  return runModelBench(flags, {
    name: 'decode',
    doing: 'decoding',
    size: {
      maxBatch: Math.max(...batches),
      maxContext: Math.max(...contexts) + steps + WARM_STEPS,
      chunk: 1,
    },
    cases: (_, spread) =>
      contexts.flatMap((context) => batches.map((batch) => ({ batch, context, steps, spread }))),
    measure: benchDecode,
    profile: profileDecode,
    named: ({ batch, context }) => ({ batch, context }),
    json: jsonRow,
    text: rowsText,
  });
}

function jsonRow(row: DecodeRow): object {
  return {
    steps: row.steps,
    tpot_median_ms: row.tpotMs,
    tpot_p99_ms: row.tpotP99Ms,
    gpu_ms: row.gpuMs ?? null,
    tokens_per_second: row.tokensPerSecond,
    step_bytes: row.stepBytes,
    mbu_percent: row.mbuPercent,
    dispatches: row.dispatches,
    encode_ms: row.encodeMs,
    idle_percent: row.idlePercent ?? null,
  };
}

function rowsText(rows: readonly DecodeRow[]): string {
  const head = ['batch', 'context', 'TPOT ms', 'p99 ms', 'GPU ms', 'tokens/s', 'MBU %', 'dispatches'];
  return columns(
    [...head, 'encode ms', 'idle %'],
    rows.map((row) => [
      ...[row.batch, row.context].map(String),
      ...[row.tpotMs, row.tpotP99Ms, row.gpuMs ?? Number.NaN, row.tokensPerSecond].map(digits),
      row.mbuPercent.toFixed(1),
      String(row.dispatches),
      digits(row.encodeMs),
      row.idlePercent?.toFixed(1) ?? '-',
    ]),
    0,
  );
}
