/** The largest logit of every block of rows, after the repetition penalty: what `sample` begins with. */
import { ceilDiv, padRow } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN, type Values } from './kernel.ts';
import {
  checkLogitRows,
  encodeOptions,
  type LogitRows,
  type LogitRowsParams,
  logitRow,
  logitRowsBindings,
  logitRowsOf,
  penalised,
  randomLogitRows,
  rowBytes,
} from './logit_rows.ts';

/** Logits of a block: two vectors of four for each of 256 invocations. */
export const PEAK_BLOCK = 2048;

/** Bytes of a key and its token. */
export const PEAK_BYTES = 8;

/** Blocks of a vocabulary. */
export function peakBlocks(vocab: number): number {
  return ceilDiv(vocab, PEAK_BLOCK);
}

/** A logit as a u32 of the same order: both zeros are one, NaN is below all. */
function keyOf(logit: number): number {
  if (Number.isNaN(logit)) return 0;
  const bits = new Uint32Array(Float32Array.of(logit === 0 ? 0 : logit).buffer)[0];
  return (bits >>> 31 === 0 ? bits | 0x80000000 : ~bits) >>> 0;
}

/** Key and token of the largest logit of each block, the first of equals: [rows, blocks, 2]. */
export function peaksOf(p: LogitRowsParams, values: LogitRows): Uint32Array {
  const blocks = peakBlocks(p.vocab);
  const peaks = new Uint32Array(p.rows * blocks * 2);
  for (let r = 0; r < p.rows; r++) {
    const row = logitRow(p, r, values);
    for (let block = 0; block < blocks; block++) {
      let best = 0;
      let token = block * PEAK_BLOCK;
      for (let t = token; t < Math.min((block + 1) * PEAK_BLOCK, p.vocab); t++) {
        const key = keyOf(penalised(row, t));
        if (key > best) [best, token] = [key, t];
      }
      peaks.set([best, token], (r * blocks + block) * 2);
    }
  }
  return peaks;
}

export const logit_peaks: Kernel<LogitRowsParams> = defineKernel<LogitRowsParams>({
  name: 'logit_peaks',
  summary: 'largest logit of every 2,048 after the repetition penalty',
  variants: [PLAIN],
  libs: () => ['lib/logit_keys'],
  check: (p) => checkLogitRows('logit_peaks', p),
  constants: () => ({}),
  uniforms: (p) => ({ vocab: p.vocab, logits_stride: p.logitsStride }),
  bindings: (p) => ({
    ...logitRowsBindings(p, 'in'),
    peaks: { type: 'u32', dims: [p.rows, peakBlocks(p.vocab), 2], use: 'out' },
  }),
  workgroups: (p) => [peakBlocks(p.vocab), p.rows, 1],
  reference(p, io) {
    io.u('peaks').set(peaksOf(p, logitRowsOf(io)));
  },
  cost: (p) => ({
    flops: p.rows * p.vocab, // a comparison
    bytesRead: p.rows * (rowBytes(p.vocab).logits + rowBytes(p.vocab).options),
    bytesWritten: p.rows * peakBlocks(p.vocab) * PEAK_BYTES,
  }),
  tolerance: { abs: 0, rel: 0, cosine: 0 },
  inputs: peakInputs,
  shapes: {
    test: [
      { name: 'one token', params: peakCase(1, 1, 1) },
      { name: 'few tokens, many sequences', params: peakCase(7, 5, 20) },
      { name: 'a partial first half', params: peakCase(7, 1023, 7) },
      { name: 'one over a vector per invocation', params: peakCase(7, 1025, 7) },
      { name: 'one under a block', params: peakCase(7, PEAK_BLOCK - 1, 9) },
      { name: 'one block', params: peakCase(7, PEAK_BLOCK, 7) },
      { name: 'one over a block', params: peakCase(7, PEAK_BLOCK + 1, 7) },
      { name: 'blocks of every kind', params: peakCase(14, 4 * PEAK_BLOCK + 77, 15) },
      { name: 'Step-3', params: peakCase(7, 128815, 8) },
    ],
    bench: [
      { name: 'Step-3, 1 row', params: peakCase(1, 128815, 1), set: 'real' },
      { name: 'Step-3, 9 rows', params: peakCase(9, 128815, 9), set: 'real' },
      { name: 'Step-3, 64 rows', params: peakCase(64, 128815, 64), set: 'real' },
      { name: '32,768 logits, 1 row', params: peakCase(1, 32768, 1), set: 'small' },
    ],
  },
});

function peakCase(rows: number, vocab: number, sequences: number): LogitRowsParams {
  return { rows, vocab, logitsStride: padRow(vocab), sequences };
}

/** About normal, in steps of 1/4: many ties, also of penalised logits. */
function bell(random: () => number): number {
  return Math.round((random() + random() + random() + random() - 2) * 24) / 4;
}

/** What rows are made of; `t` is the token. Penalties are powers of two, whose quotients no rounding changes. */
const KINDS: readonly {
  readonly penalty: number;
  readonly logit: (t: number, random: () => number) => number;
}[] = [
  { penalty: 1, logit: (_, random) => bell(random) },
  { penalty: 2, logit: (_, random) => bell(random) },
  { penalty: 0.5, logit: (_, random) => bell(random) },
  { penalty: 2, logit: (_, random) => -Math.abs(bell(random)) - 0.25 },
  { penalty: 1, logit: () => 1.5 },
  { penalty: 2, logit: (_, random) => (random() < 0.1 ? (random() < 0.5 ? 0 : -0) : -1) },
  // Blocks with nothing but NaN, nothing but -inf, both, and both with few others.
  {
    penalty: 2,
    logit: (t, random) => {
      const kind = Math.floor(t / PEAK_BLOCK) % 4;
      const nan = kind === 0 || (kind > 1 && random() < 0.5);
      if (kind === 3 && random() < 0.01) return random() < 0.1 ? Number.POSITIVE_INFINITY : bell(random);
      return nan ? Number.NaN : Number.NEGATIVE_INFINITY;
    },
  },
];

function peakInputs(p: LogitRowsParams, random: () => number): Record<string, Values> {
  const values = randomLogitRows(p, random);
  for (let r = 0; r < p.rows; r++) {
    const { sequence, logits } = logitRow(p, r, values);
    const { penalty, logit } = KINDS[r % KINDS.length];
    for (let t = 0; t < p.vocab; t++) logits[t] = logit(t, random);
    encodeOptions(values.options, sequence, { penalty });
  }
  return { ...values };
}
