/** Attention of a prompt's tokens on matrix units: neighbours share the keys and values that they see. */
import { KernelError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { attentionCase, groupedHeads } from './attention_cases.ts';
import { gateConstants, gateLib } from './gates.ts';
import { defineKernel, type Kernel, MATRIX_UNITS, type Shape } from './kernel.ts';
import { kvHalfLibs, kvRowBytes } from './kv_cache.ts';
import { attentionCheck, mfa_decode, seenPositions } from './mfa_decode.ts';
import { mfa_matrix } from './mfa_matrix.ts';
import { fourLibs, mfa_quad, type QuadParams, wholeCheck } from './mfa_quad.ts';
import { PAGE } from './paged.ts';
import { contextSlices, OCCUPYING } from './slices.ts';

/** Most rows of a workgroup, each a query head of a token, by the head_dims that the text is written for. */
const MOST_ROWS: Readonly<Record<number, Rows>> = { 64: 128, 128: 128, 256: 64 };

type Rows = 64 | 128;

/** `rows`: of a workgroup, as many as may be when absent. */
export type PrefillParams = QuadParams & { readonly rows?: Rows };

/** Positions of a tile of keys; slices are a multiple of it. */
export const PREFILL_KEYS = 32;

/** What tells whether the kernel is for a call. */
type Heads = Pick<PrefillParams, 'heads' | 'kvHeads' | 'D' | 'kv' | 'rows'>;

/** Rows of a workgroup; 0 where the kernel is not for such heads. */
export const prefillRows = ({ D, rows }: Heads): number => Math.min(rows ?? 128, MOST_ROWS[D] ?? 0);

/** Tokens of a workgroup; 0 where the kernel is not for such heads. */
export function prefillTokens(p: Heads): number {
  return p.kv === 'f32' ? 0 : Math.floor(prefillRows(p) / (p.heads / p.kvHeads));
}

/** Workgroups that share a slice. */
export function prefillGroups(p: Heads, tokens: number): number {
  return ceilDiv(tokens, prefillTokens(p)) * p.kvHeads;
}

/** Places of the positions from `begin` to `end`, which is not one of them. */
function prompt(sequence: number, begin: number, end: number): (readonly [number, number])[] {
  return Array.from({ length: end - begin }, (_, i) => [sequence, begin + i] as const);
}

const TEST: readonly Shape<PrefillParams>[] = [
  { name: 'one token of one position', params: attentionCase(8, 256, 'f16', 1, 64, [[0, 0]]) },
  { name: 'a whole prompt', params: attentionCase(8, 256, 'f16', 1, 64, prompt(0, 0, 40)) },
  {
    name: 'more tokens than a group, in slices',
    params: attentionCase(8, 256, 'f16', 2, 64, prompt(0, 90, 110)),
  },
  { name: '32 heads of 256, fp8', params: attentionCase(32, 256, 'fp8', 2, 32, prompt(0, 60, 65)) },
  {
    name: '8 heads on 2 KV heads of 128',
    params: groupedHeads(8, 2, 128, 'f16', 1, 256, prompt(0, 200, 250)),
  },
  {
    name: 'fp8, 16 heads on 2 KV heads of 128',
    params: groupedHeads(16, 2, 128, 'fp8', 3, 64, prompt(0, 170, 190)),
  },
  {
    name: '12 heads of 64, rows left over',
    params: attentionCase(12, 64, 'f16', 2, 96, prompt(0, 10, 23)),
  },
  {
    name: 'several prompts in a group, one in two parts',
    params: groupedHeads(16, 2, 64, 'f16', 2, 96, [
      ...prompt(2, 150, 154),
      [0, 0],
      ...prompt(1, 30, 34),
      ...prompt(3, 63, 66),
      [3, 90],
      [3, 7],
    ]),
  },
  {
    name: 'slices by what each token sees',
    params: attentionCase(16, 64, 'f16', 2, 32, [...prompt(0, 60, 68), ...prompt(1, 126, 131)]),
  },
  {
    name: 'window of 100 in a ring of 3 pages, two splits, tokens of two sequences',
    params: groupedHeads(12, 1, 64, 'f16', 2, 64, [...prompt(0, 495, 507), ...prompt(1, 96, 100)], {
      window: 100,
      maxPages: 3,
    }),
  },
  {
    name: 'whole, gated heads, tokens 2..20 of 22, as f16',
    params: {
      ...groupedHeads(24, 2, 64, 'f16', 1, 256, [...prompt(0, 5, 12), ...prompt(1, 240, 255)]),
      tokenBegin: 2,
      tokens: 19,
      gates: { stride: 40, at: 16 },
      half: true,
    },
  },
];

/** The same with fewer rows a workgroup, which need less workgroup memory. */
function narrow({ name, params }: Shape<PrefillParams>): Shape<PrefillParams> {
  return { name: `${name}, 64 rows`, params: { ...params, rows: 64 } };
}

export const mfa_prefill: Kernel<PrefillParams> = defineKernel<PrefillParams>({
  ...mfa_quad,
  name: 'mfa_prefill',
  summary:
    "attention of a prompt's tokens on matrix units, which share keys and values; whole with the head-wise gate, or split over the context",
  variants: [MATRIX_UNITS],
  libs: (p) => [
    'lib/prefill_queries',
    ...kvHalfLibs(p.kv),
    'lib/positions',
    'lib/slices',
    gateLib(p.gates),
    ...fourLibs(p),
  ],
  check(p) {
    attentionCheck('mfa_prefill', p);
    wholeCheck('mfa_prefill', p);
    const fail = (expected: string, got: unknown): never => {
      throw new KernelError('mfa_prefill', `expected ${expected}, got ${JSON.stringify(got)}`);
    };
    const { D, kv, heads, kvHeads, splitLen } = p;
    if (prefillTokens(p) < 1)
      fail('D 64, 128 or 256, kv f16 or fp8 and the heads of a token in a workgroup', {
        D,
        kv,
        heads,
        kvHeads,
      });
    if (splitLen % PREFILL_KEYS !== 0) fail(`splitLen: a multiple of ${PREFILL_KEYS}`, splitLen);
  },
  constants: (p) => ({
    HEADS: p.heads,
    KV_HEADS: p.kvHeads,
    D: p.D,
    ROWS: prefillRows(p),
    PAGE,
    WINDOW: p.window ?? 0,
    ...gateConstants(p.gates),
  }),
  uniforms: (p) => ({ ...mfa_decode.uniforms(p), tokens: p.tokens }),
  workgroups: (p) => [p.splits, ceilDiv(p.tokens, prefillTokens(p)), p.kvHeads],
  cost(p) {
    const each = mfa_quad.cost(p);
    const rows = seenPositions(p) * 2 * kvRowBytes(p.kv, p.D) * p.kvHeads; // K and V
    // Once for all tokens of a workgroup.
    return { ...each, bytesRead: each.bytesRead - (p.tokens - ceilDiv(p.tokens, prefillTokens(p))) * rows };
  },
  // Queries and softmax weights are rounded to binary16.
  tolerance: mfa_matrix.tolerance,
  shapes: {
    test: [
      ...TEST,
      ...TEST.filter(({ params: { D, kv } }) => D === 64 || (D === 128 && kv === 'fp8')).map(narrow),
    ],
    bench: [...prefillBench('f16'), ...prefillBench('fp8')],
  },
});

/** Chunks of a prompt as plans cut them, for benchmark lists: `tokens` up to position `end`. */
function prefillBench(kv: 'f16' | 'fp8'): Shape<PrefillParams>[] {
  const shape = (heads: number, kvHeads: number, D: number, tokens: number, end: number, window?: number) => {
    const groups = prefillGroups({ heads, kvHeads, D, kv }, tokens);
    const { splits, splitLen } = contextSlices(Math.min(end, window ?? end), groups, OCCUPYING.ahead);
    const ring = window === undefined ? undefined : { window, maxPages: ceilDiv(window + tokens, PAGE) + 1 };
    const rest = `${ring ? `, window ${window}` : ''}${kv === 'f16' ? '' : `, ${kv}`}`;
    return {
      name: `${heads} heads on ${kvHeads} of ${D}, ${tokens} tokens up to ${end}${rest}`,
      params: groupedHeads(heads, kvHeads, D, kv, splits, splitLen, prompt(0, end - tokens, end), ring),
      set: 'real' as const,
    };
  };
  return [
    shape(8, 1, 256, 256, 4096),
    shape(8, 1, 256, 1024, 8192),
    shape(64, 8, 128, 256, 4096),
    shape(64, 8, 128, 1024, 8192),
    shape(64, 8, 128, 1024, 32768),
    shape(96, 8, 128, 1024, 8192, 512),
  ];
}
