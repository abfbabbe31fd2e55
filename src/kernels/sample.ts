/** Next tokens from logits: repetition penalty, temperature, top-k, top-p, min-p, and a draw by a counter-based hash. */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN, type Values } from './kernel.ts';

export interface SampleParams {
  /** Rows of logits, each of another sequence. */
  readonly rows: number;
  /** vocab_size. */
  readonly vocab: number;
  /** Elements from one row of logits to the next. */
  readonly logitsStride: number;
  /** Sequences that options, seen tokens and next tokens are kept for. */
  readonly sequences: number;
}

/** A draw goes through 4 blocks of 256 chunks of at most 256 tokens. */
const MAX_VOCAB = 4 * 256 * 256;

const OPTION_WORDS = 8;

/** Options of one sequence, as they stand in its words of `options`. */
interface Options {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly penalty: number;
  readonly seedLow: number;
  readonly seedHigh: number;
}

export const sample: Kernel<SampleParams> = defineKernel<SampleParams>({
  name: 'sample',
  summary: 'next token: repetition penalty, temperature, top-k, top-p, min-p, seeded draw',
  variants: [PLAIN],
  libs: () => ['lib/turns'],
  check(p) {
    if (!(p.vocab >= 1 && p.vocab <= MAX_VOCAB))
      throw new KernelError('sample', `vocab: expected 1..${MAX_VOCAB}, got ${p.vocab}`);
    if (p.logitsStride < p.vocab || p.logitsStride % 4 !== 0)
      throw new KernelError(
        'sample',
        `logitsStride: expected a multiple of 4 from ${p.vocab}, got ${p.logitsStride}`,
      );
    if (!(p.rows >= 1 && p.rows <= p.sequences))
      throw new KernelError('sample', `rows: expected 1..${p.sequences}, got ${p.rows}`);
  },
  constants: () => ({}),
  uniforms: (p) => ({ vocab: p.vocab, logits_stride: p.logitsStride }),
  bindings: (p) => ({
    logits: { type: 'f32', dims: [p.rows, p.logitsStride], cols: p.vocab, use: 'in' },
    row_sequences: { type: 'u32', dims: [p.rows], use: 'in' },
    options: { type: 'u32', dims: [p.sequences, OPTION_WORDS], use: 'in' },
    seen: { type: 'u32', dims: [p.sequences, ceilDiv(p.vocab, 32)], use: 'inout' },
    next_tokens: { type: 'u32', dims: [p.sequences], use: 'out' },
    next_places: { type: 'u32', dims: [p.sequences, 2], use: 'inout' },
  }),
  workgroups: (p) => [p.rows, 1, 1],
  reference(p, io) {
    const logits = io.f('logits');
    const rowSequences = io.u('row_sequences');
    const words = io.u('options');
    const seen = io.u('seen');
    const places = io.u('next_places');
    const seenWords = ceilDiv(p.vocab, 32);
    for (let r = 0; r < p.rows; r++) {
      const s = rowSequences[r];
      const row = logits.subarray(r * p.logitsStride, r * p.logitsStride + p.vocab);
      const seenRow = seen.subarray(s * seenWords, (s + 1) * seenWords);
      places[s * 2 + 1]++;
      const { token } = choose(row, seenRow, decodeOptions(words, s), places[s * 2 + 1]);
      io.u('next_tokens')[s] = token;
      seenRow[token >>> 5] |= 1 << (token & 31);
    }
  },
  cost: (p) => ({
    flops: p.rows * p.vocab * 3, // difference from the maximum, temperature, exponential
    bytesRead: p.rows * (p.vocab * 4 + ceilDiv(p.vocab, 32) * 4 + OPTION_WORDS * 4), // logits, seen, options
    bytesWritten: p.rows * 16, // token, position, word of seen
  }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  inputs: sampleInputs,
  shapes: {
    test: [
      { name: 'one token', params: sampleCase(1, 1, 1) },
      { name: 'fewer tokens than options', params: sampleCase(9, 5, 11) },
      { name: 'one under a token per invocation', params: sampleCase(10, 255, 10) },
      { name: 'a token per invocation', params: sampleCase(10, 256, 13) },
      { name: 'one over a token per invocation', params: sampleCase(9, 257, 9) },
      { name: '8192 tokens, many sequences', params: sampleCase(27, 8192, 40) },
      { name: 'Step-3', params: sampleCase(9, 128815, 10) },
    ],
    bench: [
      { name: 'Step-3, 1 greedy row', params: sampleCase(1, 128815, 1), set: 'real' },
      { name: 'Step-3, 9 rows', params: sampleCase(9, 128815, 9), set: 'real' },
      { name: 'stories, 9 rows', params: sampleCase(9, 4096, 9), set: 'small' },
    ],
  },
});

function sampleCase(rows: number, vocab: number, sequences: number): SampleParams {
  return { rows, vocab, logitsStride: padRow(vocab), sequences };
}

function decodeOptions(words: Uint32Array, sequence: number): Options {
  const own = words.slice(sequence * OPTION_WORDS, (sequence + 1) * OPTION_WORDS);
  const [temperature, , topP, minP, penalty] = new Float32Array(own.buffer);
  return { temperature, topK: own[1], topP, minP, penalty, seedLow: own[5], seedHigh: own[6] };
}

function encodeOptions(o: Options): Uint32Array {
  const words = new Uint32Array(OPTION_WORDS);
  new Float32Array(words.buffer).set([o.temperature, 0, o.topP, o.minP, o.penalty]);
  words[1] = o.topK;
  words[5] = o.seedLow;
  words[6] = o.seedHigh;
  return words;
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
function choose(logits: Float64Array, seen: Uint32Array, options: Options, position: number): Choice {
  const l = logits.map((x, t) => {
    if (((seen[t >>> 5] >>> (t & 31)) & 1) === 0) return x;
    return x > 0 ? x / options.penalty : x * options.penalty;
  });
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

  if (!(options.temperature > 1e-30) || max === Number.NEGATIVE_INFINITY) {
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
  const seenWords = ceilDiv(p.vocab, 32);
  const logits = new Float64Array(p.rows * p.logitsStride).fill(Number.NaN);
  const options = Uint32Array.from({ length: p.sequences * OPTION_WORDS }, word);
  const seen = Uint32Array.from({ length: p.sequences * seenWords }, () => (word() & word()) >>> 0);
  const places = Uint32Array.from({ length: p.sequences * 2 }, () => word() >>> 12);
  const sequences = Uint32Array.from({ length: p.sequences }, (_, s) => s);
  for (let s = p.sequences - 1; s > 0; s--) {
    const other = Math.floor(random() * (s + 1));
    [sequences[s], sequences[other]] = [sequences[other], sequences[s]];
  }
  for (let r = 0; r < p.rows; r++) {
    const s = sequences[r];
    const row = logits.subarray(r * p.logitsStride, r * p.logitsStride + p.vocab);
    const seenRow = seen.subarray(s * seenWords, (s + 1) * seenWords);
    do {
      // About normal, and in steps of 1/1024, so that large vocabularies hold many ties.
      for (let t = 0; t < p.vocab; t++)
        row[t] = Math.round((random() + random() + random() + random() - 2) * 6144) / 1024;
      for (let peak = 0; peak < 3; peak++) row[Math.floor(random() * p.vocab)] += 8;
      options.set(
        encodeOptions({
          ...{ temperature: 0, topK: 0, topP: 1, minP: 0, penalty: 1, seedLow: word(), seedHigh: word() },
          ...MIXES[r % MIXES.length],
        }),
        s * OPTION_WORDS,
      );
    } while (choose(row, seenRow, decodeOptions(options, s), places[s * 2 + 1] + 1).margin < CLEAR);
  }
  return { logits, row_sequences: sequences.slice(0, p.rows), options, seen, next_places: places };
}
