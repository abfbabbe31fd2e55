/** Next tokens from logits: repetition penalty, temperature, top-k, top-p, min-p, and a draw by a counter-based hash. */
import { padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN, type Values } from './kernel.ts';
import { PEAK_BLOCK, PEAK_BYTES, peakBlocks, peaksOf } from './logit_peaks.ts';
import {
  checkLogitRows,
  encodeOptions,
  type LogitRow,
  type LogitRowsParams,
  logitRow,
  logitRowsBindings,
  logitRowsOf,
  type Options,
  penalised,
  randomLogitRows,
  rowBytes,
} from './logit_rows.ts';

export interface SampleParams extends LogitRowsParams {
  /** Whether `logit_peaks` has found the largest logits of blocks, so that rows need not be read for their maximum. */
  readonly peaks: boolean;
}

export const sample: Kernel<SampleParams> = defineKernel<SampleParams>({
  name: 'sample',
  summary: 'next token: repetition penalty, temperature, top-k, top-p, min-p, seeded draw',
  variants: [PLAIN],
  libs: (p) => ['lib/turns', 'lib/logit_keys', p.peaks ? 'lib/top_peaks' : 'lib/top_whole'],
  check: (p) => checkLogitRows('sample', p),
  constants: () => ({}),
  uniforms: (p) => ({ vocab: p.vocab, logits_stride: p.logitsStride }),
  bindings: (p) => ({
    ...logitRowsBindings(p, 'inout'),
    next_tokens: { type: 'u32', dims: [p.sequences], use: 'out' },
    next_places: { type: 'u32', dims: [p.sequences, 2], use: 'inout' },
    ...(p.peaks
      ? { peaks: { type: 'u32', dims: [p.rows, peakBlocks(p.vocab), 2], use: 'in' } as const }
      : {}),
  }),
  workgroups: (p) => [p.rows, 1, 1],
  reference(p, io) {
    const rows = logitRowsOf(io);
    const places = io.u('next_places');
    for (let r = 0; r < p.rows; r++) {
      const row = logitRow(p, r, rows);
      const s = row.sequence;
      places[s * 2 + 1]++;
      const token =
        p.peaks && isGreedy(row.options)
          ? largest(io.u('peaks'), r, peakBlocks(p.vocab))
          : choose(row, places[s * 2 + 1]).token;
      io.u('next_tokens')[s] = token;
      row.seen[token >>> 5] |= 1 << (token & 31);
    }
  },
  cost(p) {
    const { logits, options } = rowBytes(p.vocab);
    const peaks = peakBlocks(p.vocab);
    return {
      // Comparisons of peaks, or difference from the maximum, temperature, exponential.
      flops: p.rows * (p.peaks ? peaks : p.vocab * 3),
      // Rows that are drawn read their logits beside the peaks.
      bytesRead: p.rows * (options + (p.peaks ? peaks * PEAK_BYTES : logits)),
      bytesWritten: p.rows * 16, // token, position, word of seen
    };
  },
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  inputs: sampleInputs,
  shapes: {
    test: [
      { name: 'a token per invocation', params: sampleCase(10, 256, 13) },
      { name: 'one token', params: sampleCase(1, 1, 1) },
      { name: 'fewer tokens than options', params: sampleCase(9, 5, 11) },
      { name: 'one under a token per invocation', params: sampleCase(10, 255, 10) },
      { name: 'one over a token per invocation', params: sampleCase(9, 257, 9) },
      { name: '8192 tokens, many sequences', params: sampleCase(27, 8192, 40) },
      { name: 'Step-3', params: sampleCase(9, 128815, 10) },
      { name: 'peaks, five blocks, many sequences', params: sampleCase(27, 4 * PEAK_BLOCK + 3, 40, true) },
      { name: 'peaks, one token', params: sampleCase(1, 1, 1, true) },
      { name: 'peaks, one under a token per invocation', params: sampleCase(10, 255, 10, true) },
      { name: 'peaks, one under a block', params: sampleCase(9, PEAK_BLOCK - 1, 9, true) },
      { name: 'peaks, a block', params: sampleCase(9, PEAK_BLOCK, 12, true) },
      { name: 'peaks, one over a block', params: sampleCase(9, PEAK_BLOCK + 1, 9, true) },
      { name: 'peaks, Step-3', params: sampleCase(9, 128815, 10, true) },
    ],
    bench: [
      { name: 'Step-3, 1 greedy row', params: sampleCase(1, 128815, 1), set: 'real' },
      { name: 'Step-3, 9 rows', params: sampleCase(9, 128815, 9), set: 'real' },
      { name: 'peaks, Step-3, 1 greedy row', params: sampleCase(1, 128815, 1, true), set: 'real' },
      { name: 'peaks, Step-3, 9 rows', params: sampleCase(9, 128815, 9, true), set: 'real' },
      { name: 'stories, 9 rows', params: sampleCase(9, 4096, 9), set: 'small' },
    ],
  },
});

function sampleCase(rows: number, vocab: number, sequences: number, peaks = false): SampleParams {
  return { rows, vocab, logitsStride: padRow(vocab), sequences, peaks };
}

/** Quotients by smaller temperatures overflow anyway. */
function isGreedy({ temperature }: Options): boolean {
  return !(temperature > 1e-30);
}

/** Token of the largest key of a row's blocks, the first of equals. */
function largest(peaks: Uint32Array, row: number, blocks: number): number {
  let best = row * blocks;
  for (let i = best; i < (row + 1) * blocks; i++) if (peaks[i * 2] > peaks[best * 2]) best = i;
  return peaks[best * 2 + 1];
}

/** The upper and lower 32 bits of a product of two u32s. */
function multiply(a: number, b: number): [high: number, low: number] {
  const product = BigInt(a) * BigInt(b);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}

/** Philox4x32-10 (Salmon et al. 2011): four random words of a counter and a key. */
export function philox4x32(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The number in [0, 1), of 24 bits, that chooses the token at `position` of a sequence. */
export function drawUniform(seedLow: number, seedHigh: number, position: number): number {
  return (philox4x32([position, 0, 0, 0], [seedLow, seedHigh])[0] >>> 8) / 2 ** 24;
}

/** A choice, and the smallest relative distance of any of its decisions from going another way. */
interface Choice {
  readonly token: number;
  readonly margin: number;
}

/** Chooses a token: see sample.wgsl for the rules. */
function choose(row: LogitRow, position: number): Choice {
  const { options } = row;
  const l = row.logits.map((_, t) => penalised(row, t));
  const order = Array.from(l.keys()).filter((t) => !Number.isNaN(l[t]));
  order.sort((a, b) => (l[a] === l[b] ? a - b : l[a] < l[b] ? 1 : -1));
  if (order.length === 0) return { token: 0, margin: 1 };
  const max = l[order[0]];
  let margin = 1;
  const decide = (distance: number): void => {
    margin = Math.min(margin, Math.abs(distance));
  };
  /** First place in `order` after `i` with a smaller logit. */
  const afterTies = (i: number): number => {
    let end = i + 1;
    while (end < order.length && l[order[end]] === l[order[i]]) end++;
    return end;
  };
  /** How far apart two different logits are. */
  const gap = (a: number, b: number): number => (a - b) / Math.max(Math.abs(a), Math.abs(b));

  if (isGreedy(options) || max === Number.NEGATIVE_INFINITY) {
    const end = afterTies(0);
    if (end < order.length) decide(gap(max, l[order[end]]));
    return { token: order[0], margin };
  }
  const weights = order.map((t) => (l[t] === max ? 1 : Math.exp((l[t] - max) / options.temperature)));
  let kept = order.length;
  if (options.topK > 0 && options.topK < kept) {
    kept = afterTies(options.topK - 1);
    if (kept < order.length) decide(gap(l[order[kept - 1]], l[order[kept]]));
  }
  if (options.topP < 1) {
    const goal = options.topP * weights.slice(0, kept).reduce((a, b) => a + b, 0);
    let mass = 0;
    for (let i = 0; i < kept; ) {
      const end = afterTies(i);
      for (; i < end; i++) mass += weights[i];
      decide((mass - goal) / goal);
      if (mass >= goal) kept = end;
    }
  }
  for (let i = 0; i < kept; i++) {
    if (options.minP > 0) decide(weights[i] / options.minP - 1);
    if (weights[i] < options.minP) kept = i;
  }
  const mass = new Float64Array(l.length);
  for (let i = 0; i < kept; i++) mass[order[i]] = weights[i];
  const total = mass.reduce((a, b) => a + b);
  const goal = drawUniform(options.seedLow, options.seedHigh, position) * total;
  let cumulative = 0;
  let token = order[0];
  for (let t = 0; t < mass.length && cumulative <= goal; t++) {
    if (mass[t] === 0) continue;
    if (cumulative > 0) decide((goal - cumulative) / total);
    cumulative += mass[t];
    token = t;
  }
  if (kept > 1) decide((cumulative - goal) / total);
  return { token, margin };
}

/** Options for tests: each one alone and all together. */
const MIXES: readonly Partial<Options>[] = [
  {},
  { temperature: 1 },
  { temperature: 0.6 },
  { temperature: 1.3, topK: 7 },
  { temperature: 1, topP: 0.8 },
  { temperature: 1, minP: 0.05 },
  { temperature: 1, penalty: 1.3 },
  { penalty: 1.7 },
  { temperature: 0.9, topK: 20, topP: 0.9, minP: 0.02, penalty: 1.1 },
];

/** Decisions of a test case lie at least this far from going another way, so that f32 takes them as f64 does. */
const CLEAR = 1e-4;

/** Rows of logits, options and seen tokens whose choices are clear, for sequences in no particular order. */
function sampleInputs(p: SampleParams, random: () => number): Record<string, Values> {
  const word = (): number => Math.floor(random() * 2 ** 32);
  const rows = randomLogitRows(p, random);
  const places = Uint32Array.from({ length: p.sequences * 2 }, () => word() >>> 12);
  for (let r = 0; r < p.rows; r++) {
    const { sequence: s, logits } = logitRow(p, r, rows);
    do {
      // About normal, and in steps of 1/1024, so that large vocabularies hold many ties.
      for (let t = 0; t < p.vocab; t++)
        logits[t] = Math.round((random() + random() + random() + random() - 2) * 6144) / 1024;
      for (let peak = 0; peak < 3; peak++) logits[Math.floor(random() * p.vocab)] += 8;
      const mix = MIXES[r % MIXES.length];
      encodeOptions(rows.options, s, { seedLow: word(), seedHigh: word(), ...mix });
    } while (choose(logitRow(p, r, rows), places[s * 2 + 1] + 1).margin < CLEAR);
  }
  return { ...rows, next_places: places, ...(p.peaks ? { peaks: peaksOf(p, rows) } : {}) };
}
