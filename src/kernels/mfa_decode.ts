/** Attention of grouped query heads, one slice of the context per workgroup: one K/V read for all heads of a group. */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { attentionBench, attentionShapes, groupedBench, uncoveredShapes } from './attention_cases.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { cacheBinding, kvLibs, kvRowBytes } from './kv_cache.ts';
import {
  cacheRow,
  firstSeen,
  type KvFormat,
  PAGE,
  type PagedCase,
  placesArray,
  poisonedCache,
  scatteredPages,
} from './paged.ts';
import { sliceLength, usedSlices } from './slices.ts';

export interface AttentionParams {
  /** Rows of q_rope, and the range of them that this call handles (its partial results start at 0). */
  readonly allTokens: number;
  readonly tokenBegin: number;
  readonly tokens: number;
  /** Query heads, and key/value heads that they share in equal groups: all on one in multi-matrix factorisation. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly D: number;
  readonly kv: KvFormat;
  /** Positions that a query sees, its own included, in a ring of maxPages pages; all before it when absent. */
  readonly window?: number;
  readonly sequences: number;
  readonly maxPages: number;
  readonly pages: number;
  /** Slices of what a query sees, at most; their positions are a multiple of splitLen (see `slices.ts`). */
  readonly splits: number;
  readonly splitLen: number;
  /** Longest context that the call is costed for. */
  readonly context: number;
  /** Places for tests and benchmarks. */
  readonly example?: PagedCase;
}

/** Most heads that one workgroup serves. */
const GROUP = 64;

/** Heads of a workgroup: a multiple of four, at most {@link GROUP}. */
function group(p: AttentionParams): number {
  return Math.min(GROUP, ceilDiv(p.heads / p.kvHeads, 4) * 4);
}

/** Workgroups that share the heads of a slice. */
function headGroups(p: AttentionParams): number {
  return p.kvHeads * ceilDiv(p.heads / p.kvHeads, group(p));
}

/** Most positions that a query of the call sees. */
export function seenPositions(p: AttentionParams): number {
  return Math.min(p.context, p.window ?? p.context);
}

/** Checks shared with mfa_combine. */
export function attentionCheck(kernel: string, p: AttentionParams): void {
  if (p.D < 2 || p.D > 512 || p.D % 2 !== 0)
    throw new KernelError(kernel, `D: expected an even number in 2..512, got ${p.D}`);
  if (p.kvHeads < 1 || p.heads % p.kvHeads !== 0)
    throw new KernelError(kernel, `kvHeads: expected a divisor of ${p.heads} heads, got ${p.kvHeads}`);
  if (p.window !== undefined && p.window < 1)
    throw new KernelError(kernel, `window: expected at least 1, got ${p.window}`);
  if (p.splits < 1 || p.splitLen < 1) {
    throw new KernelError(kernel, `expected splits, splitLen >= 1, got ${p.splits}, ${p.splitLen}`);
  }
  if (p.tokens < 1 || p.tokenBegin + p.tokens > p.allTokens) {
    throw new KernelError(
      kernel,
      `tokens: expected a range within ${p.allTokens}, got ${p.tokenBegin} + ${p.tokens}`,
    );
  }
}

/** Shapes of the partial results, written by mfa_decode and read by mfa_combine. */
export function partialDims(p: AttentionParams): { o: number[]; ml: number[] } {
  return { o: [p.tokens, p.splits, p.heads, padRow(p.D)], ml: [p.tokens, p.splits, p.heads, 2] };
}

export const mfa_decode: Kernel<AttentionParams> = defineKernel<AttentionParams>({
  name: 'mfa_decode',
  summary:
    'attention of query heads over the KV heads that groups of them share, or a window of them; split over the context',
  variants: [PLAIN],
  libs: (p) => [...kvLibs(p.kv), 'lib/positions', 'lib/slices'],
  check: (p) => attentionCheck('mfa_decode', p),
  constants: (p) => ({
    HEADS: p.heads,
    KV_HEADS: p.kvHeads,
    GROUP: group(p),
    D: p.D,
    PAGE,
    WINDOW: p.window ?? 0,
  }),
  uniforms: (p) => ({
    token_begin: p.tokenBegin,
    splits: p.splits,
    split_len: p.splitLen,
    max_pages: p.maxPages,
    scale: p.D ** -0.5,
  }),
  bindings(p) {
    const D8 = padRow(p.D);
    const partial = partialDims(p);
    return {
      places: { type: 'u32', dims: [p.allTokens, 2], use: 'in' },
      page_table: { type: 'u32', dims: [p.sequences, p.maxPages], use: 'in' },
      q_rope: { type: 'f32', dims: [p.allTokens, p.heads, D8], use: 'in' },
      k_cache: cacheBinding(p.kv, p.pages, p.kvHeads, p.D, 'in'),
      v_cache: cacheBinding(p.kv, p.pages, p.kvHeads, p.D, 'in'),
      part_o: { type: 'f32', dims: partial.o, use: 'out' },
      part_ml: { type: 'f32', dims: partial.ml, use: 'out' },
    };
  },
  workgroups: (p) => [p.splits, p.tokens, headGroups(p)],
  reference(p, io) {
    const D8 = padRow(p.D);
    const places = io.u('places');
    const table = io.u('page_table');
    const q = io.f('q_rope');
    const keys = io.f('k_cache');
    const values = io.f('v_cache');
    const o = io.f('part_o');
    const ml = io.f('part_ml');
    for (let local = 0; local < p.tokens; local++) {
      const token = p.tokenBegin + local;
      const [sequence, position] = [places[token * 2], places[token * 2 + 1]];
      const first = firstSeen(position, p.window);
      const length = sliceLength(p, position + 1 - first);
      for (let split = 0; first + split * length <= position; split++) {
        const begin = first + split * length;
        const end = Math.min(begin + length, position + 1);
        const rows = Array.from(
          { length: end - begin },
          (_, j) => cacheRow(table, p.maxPages, sequence, begin + j) * p.kvHeads * D8,
        );
        for (let h = 0; h < p.heads; h++) {
          const at = (token * p.heads + h) * D8;
          const kvAt = Math.floor((h * p.kvHeads) / p.heads) * D8;
          const scores = rows.map((row) => {
            let sum = 0;
            for (let i = 0; i < p.D; i++) sum += q[at + i] * keys[row + kvAt + i];
            return sum * p.D ** -0.5;
          });
          const max = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
          const out = (local * p.splits + split) * p.heads + h;
          let total = 0;
          o.fill(0, out * D8, (out + 1) * D8);
          scores.forEach((score, j) => {
            const weight = Math.exp(score - max);
            total += weight;
            for (let i = 0; i < p.D; i++) o[out * D8 + i] += weight * values[rows[j] + kvAt + i];
          });
          ml[out * 2] = max;
          ml[out * 2 + 1] = total;
        }
      }
    }
  },
  cost(p) {
    const seen = seenPositions(p);
    return {
      flops: p.tokens * seen * p.heads * p.D * 4, // QKᵀ and PV, 2 each
      bytesRead:
        p.tokens * seen * 2 * kvRowBytes(p.kv, p.D) * headGroups(p) + // K and V rows, once per group of heads
        p.tokens * p.heads * p.D * 4, // q
      bytesWritten: p.tokens * usedSlices(p, seen) * p.heads * (p.D + 2) * 4, // partial results
    };
  },
  tolerance: { abs: 1e-4, rel: 2e-5, cosine: 1e-9 },
  inputs(p, random) {
    const example = p.example ?? { places: [], sequences: 0, maxPages: 0 };
    const { table, pages } = scatteredPages(example, random);
    return {
      places: placesArray(example),
      page_table: table,
      k_cache: poisonedCache(example, table, pages, p.D, p.kvHeads, random),
      v_cache: poisonedCache(example, table, pages, p.D, p.kvHeads, random),
    };
  },
  shapes: {
    test: [...attentionShapes(), ...uncoveredShapes()],
    bench: (['f16', 'fp8'] as const).flatMap((kv) => [...attentionBench(kv), ...groupedBench(kv)]),
  },
});
