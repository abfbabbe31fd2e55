/** What all benchmarks print: the adapter's card, tables, lines for files. */
import { appendFile } from 'node:fs/promises';
import { type Ceilings, measureCeilings } from '../bench/ceilings.ts';
import type { GpuClock } from '../bench/timing.ts';
import type { Gpu } from '../runtime/device.ts';
import type { PipelineCache } from '../runtime/pipelines.ts';
import { formatBytes, table } from './figures.ts';
import { type CommonFlags, integer } from './options.ts';
import { explainWait } from './progress.ts';

/** Flags of all benchmarks. */
export interface BenchFlags extends CommonFlags {
  readonly adapter?: string;
  readonly output?: string;
  readonly unsafeFast?: true;
}

/** The adapter and its measured ceilings, as they stand in results. */
export interface BenchCard {
  readonly adapter: string;
  readonly driver: string;
  /** UTC, in ISO 8601. */
  readonly date: string;
  readonly features: readonly string[];
  readonly subgroup_size: readonly [least: number, most: number] | null;
  /** `gpu`: by GPU timestamps; `wall`: from outside, where there are none. */
  readonly clock: 'gpu' | 'wall';
  /** Whether Dawn's shader compiler adds its bounds checks: not with `--unsafe-fast`. */
  readonly bounds_checks: boolean;
  readonly ceilings: {
    readonly read_gbps: number;
    /** Bytes of the buffer that was read for it. */
    readonly read_bytes: number;
    readonly fma_tflops: number;
    /** Null where there are no matrix units. */
    readonly matrix_tflops: number | null;
    readonly dispatch_us: number;
    readonly round_trip_us: number;
  };
}

/** Measures the ceilings and prints the card, unless only JSON is wanted. */
export async function benchCard(
  gpu: Gpu,
  pipelines: PipelineCache,
  clock: GpuClock,
  flags: BenchFlags,
): Promise<{ card: BenchCard; ceilings: Ceilings }> {
  const wait = explainWait('measuring what the adapter can do at best', flags.json === true);
  try {
    const ceilings = await measureCeilings(gpu, pipelines, clock);
    const card = makeCard(gpu, clock, ceilings, flags);
    say(flags, cardText(card));
    return { card, ceilings };
  } finally {
    wait.stop();
  }
}

function makeCard(gpu: Gpu, clock: GpuClock, ceilings: Ceilings, flags: BenchFlags): BenchCard {
  const { info, caps } = gpu;
  return {
    adapter: info.device || gpu.name,
    driver: info.description,
    date: new Date().toISOString(),
    features: [...gpu.device.features].sort(),
    subgroup_size: caps.subgroups ? [caps.subgroupMinSize, caps.subgroupMaxSize] : null,
    clock: clock.kind,
    bounds_checks: flags.unsafeFast !== true,
    ceilings: {
      read_gbps: ceilings.readGBs,
      read_bytes: ceilings.readBytes,
      fma_tflops: ceilings.fmaTFLOPs,
      matrix_tflops: ceilings.matrixTFLOPs ?? null,
      dispatch_us: ceilings.dispatchUs,
      round_trip_us: ceilings.roundTripUs,
    },
  };
}

function cardText(card: BenchCard): string {
  const { ceilings } = card;
  const clock = card.clock === 'gpu' ? 'GPU timestamps' : 'the wall clock: no timestamps';
  return table([
    ['adapter', card.adapter],
    ['driver', card.driver],
    ['features', card.features.join(', ')],
    ['subgroups', card.subgroup_size === null ? 'none' : `${card.subgroup_size.join(' to ')} invocations`],
    ['clock', clock],
    ['bounds checks', card.bounds_checks ? 'on' : 'OFF (--unsafe-fast)'],
    ['read bandwidth', `${digits(ceilings.read_gbps)} GB/s over ${formatBytes(ceilings.read_bytes)}`],
    ['f32 multiply-add', `${digits(ceilings.fma_tflops)} TFLOP/s`],
    [
      'f16 matrix units',
      ceilings.matrix_tflops === null ? 'none' : `${digits(ceilings.matrix_tflops)} TFLOP/s`,
    ],
    ['dependent dispatch', `${digits(ceilings.dispatch_us)} us`],
    ['submit and readback', `${digits(ceilings.round_trip_us)} us`],
  ]);
}

/** Prints text for people; nothing when only JSON is wanted. */
export function say(flags: CommonFlags, text: string): void {
  if (flags.json !== true) process.stdout.write(text);
}

/** Prints the results as one line, the last on stdout. */
export function printJson(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** Appends one line of JSON to the file of `--output`, when there is one. */
export async function appendLine(flags: BenchFlags, line: object): Promise<void> {
  if (flags.output !== undefined) await appendFile(flags.output, `${JSON.stringify(line)}\n`);
}

/** Three digits, never an exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)))));
}

/**
 * Cells in aligned columns: those of the first `text` columns to the left, numbers to the right. A row with fewer cells
 * ends in a remark, which takes the space it needs.
 */
export function columns(head: readonly string[], rows: readonly (readonly string[])[], text: number): string {
  const lines = [head, ...rows];
  const whole = (line: readonly string[], i: number) => i < text || line.length === head.length;
  const widths = head.map((_, i) => Math.max(...lines.map((line) => (whole(line, i) ? line[i].length : 0))));
  const cell = (value: string, i: number) => (i < text ? value.padEnd(widths[i]) : value.padStart(widths[i]));
  return lines.map((line) => `${line.map(cell).join('  ').trimEnd()}\n`).join('');
}

/** Reads positive integers separated by commas. */
export function counts(text: string): number[] {
  return text.split(',').map((part) => integer(1)(part.trim()));
}
