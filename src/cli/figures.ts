/** Numbers for people. */
import type { GenerateSummary } from '../runtime/generate.ts';

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes with a binary unit: `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(value >= 1000 ? 4 : 3)} ${UNITS[unit]}`;
}

/** A count in thousands, millions or billions: `38.0 billion`. */
export function formatCount(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(2)} billion`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(2)} million`;
  return String(count);
}

/** A rate with three digits; `-` when there is none. */
export function formatRate(perSecond: number | undefined): string {
  return perSecond === undefined ? '-' : `${plain(perSecond)} tokens/s`;
}

/** Milliseconds with three digits; `-` when there are none. */
export function formatMs(ms: number | undefined): string {
  return ms === undefined ? '-' : `${plain(ms)} ms`;
}

function plain(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** The p-th percentile (nearest rank) of values in any order; undefined when there are none. */
export function percentile(values: readonly number[], p: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((p / 100) * sorted.length) - 1)];
}

/** What a generation measured. */
export interface Speed {
  readonly prompt_tokens: number;
  /** Those of them that an earlier generation had left in the cache. */
  readonly cached_tokens: number;
  readonly new_tokens: number;
  /** Other prompt tokens over the time until the first new token. */
  readonly prefill_tokens_per_second: number | undefined;
  /** New tokens after the first of each sequence, over the time of the decoding steps. */
  readonly decode_tokens_per_second: number | undefined;
  /** Time per output token: between successive decoding steps. Not known where a step brings several. */
  readonly tpot_median_ms: number | undefined;
  readonly tpot_p99_ms: number | undefined;
}

/** Rates and percentiles of a generation. */
export function speed(summary: GenerateSummary): Speed {
  const decodeMs = summary.stepMs.reduce((sum, ms) => sum + ms, 0);
  const single = summary.drafts === undefined;
  const decoded = summary.newTokens - summary.finish.length;
  return {
    prompt_tokens: summary.promptTokens,
    cached_tokens: summary.cachedTokens,
    new_tokens: summary.newTokens,
    prefill_tokens_per_second: rate(summary.promptTokens - summary.cachedTokens, summary.prefillMs),
    decode_tokens_per_second: decoded > 0 ? rate(decoded, decodeMs) : undefined,
    tpot_median_ms: single ? percentile(summary.stepMs, 50) : undefined,
    tpot_p99_ms: single ? percentile(summary.stepMs, 99) : undefined,
  };
}

function rate(count: number, ms: number): number | undefined {
  return ms > 0 ? (count * 1000) / ms : undefined;
}

/** Lines `label  value`, the values aligned. */
export function table(rows: readonly (readonly [label: string, value: string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}\n`).join('');
}

/** Bytes by purpose on one line, without those of which there are none. */
export function formatPurposes(bytes: Readonly<Record<string, number>>): string {
  const parts = Object.entries(bytes).filter(([purpose, count]) => purpose !== 'total' && count > 0);
  const total = bytes.total ?? 0;
  return `${formatBytes(total)} (${parts.map(([purpose, count]) => `${purpose} ${formatBytes(count)}`).join(', ')})`;
}
