/** Attention for few tokens: few heads a workgroup; with a single slice, the whole of attention. */
import { KernelError } from '../errors.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { attentionCase, attentionShapes, groupedHeads } from './attention_cases.ts';
import { gateBindings, gateConstants, gateLib } from './gates.ts';
import { resultBytes, resultType } from './half_results.ts';
import {
  defineKernel,
  type Kernel,
  PLAIN,
  type ReferenceIo,
  SMALL_SUBGROUP,
  type Variant,
} from './kernel.ts';
import { kvEightLibs, kvRowBytes } from './kv_cache.ts';
import { type CombineHeadsParams, halfCheck, mfa_combine } from './mfa_combine.ts';
import {
  type AttentionParams,
  attentionCheck,
  mfa_decode,
  partialDims,
  seenPositions,
} from './mfa_decode.ts';
import { type KvFormat, PAGE } from './paged.ts';
import { usedSlices } from './slices.ts';

/**
 * One slice gives attention's output (`attn`), with the head-wise gate if there is one; several give partial results for
 * mfa_combine, which has the gate then. `group`: query heads of a workgroup, see {@link quadGroup}.
 */
export type QuadParams = CombineHeadsParams & { readonly group?: Group };

/** Query heads that a workgroup may have. */
type Group = 1 | 2 | 4;

/** Most query heads of a workgroup. */
const QUAD = 4;

/** Workgroups that fewer heads in each may make: about as many as a large GPU runs side by side. */
export const QUAD_WORKGROUPS = 128;

/**
 * Registers of an invocation that hold keys and values as they are stored, by heads of a workgroup: queries and
 * accumulators take 24 for each head, of at most 255.
 */
export const QUAD_REGISTERS: Readonly<Record<Group, number>> = { 1: 128, 2: 128, 4: 64 };

/** Most positions of a tile, for the same. */
export const QUAD_KEYS: Readonly<Record<Group, number>> = { 1: 512, 2: 512, 4: 256 };

/** Test shapes of all attention kernels that run on every variant of this one: others differ in what they share. */
const BOTH =
  /^(exactly one tile|odd heads, head_dim 6|64 heads of 256, fp8|head_dim 512|ragged|window of 100)/;

/** Invocations of a workgroup, and columns of a key that one of them has. */
const WG = 256;
const COLUMNS_EACH = 16;

/** Maxima and sums through subgroup operations of at least `least` members: as many may share the columns of a key. */
function subgroups(name: string, least: number): Variant {
  return {
    name,
    libs: ['lib/scores_subgroup'],
    enables: ['subgroups'],
    constants: { LEAST: least },
    team: () => 1,
    available: (caps) => caps.subgroups && caps.subgroupMinSize >= least,
  };
}

const EIGHT_LANES = subgroups('small subgroup', 8);

/** The same where a workgroup is many subgroups, which take turns at every barrier: fewer of them, and smaller tiles. */
const FEW_LANES: Variant = {
  ...EIGHT_LANES,
  name: 'few lanes',
  constants: { ...EIGHT_LANES.constants, WG: 64 },
  available: (caps) => EIGHT_LANES.available(caps) && caps.subgroupMaxSize < SMALL_SUBGROUP,
};

/** The same through workgroup memory. */
const WORKGROUP: Variant = { ...PLAIN, name: 'workgroup', libs: ['lib/scores_workgroup'] };

/** Gates and binary16 are for whole contexts: those of parts are mfa_combine's. */
export function wholeCheck(kernel: string, p: QuadParams): void {
  for (const name of ['gates', 'half'] as const) {
    if (p.splits > 1 && p[name] !== undefined)
      throw new KernelError(kernel, `${name}: expected none for parts of a context, got ${p.splits} splits`);
  }
  halfCheck(kernel, p);
}

/** Library files that do something with four columns of results at a time. */
export function fourLibs({ splits, half }: QuadParams): WgslName[] {
  if (splits > 1) return ['lib/fours_parts'];
  return half === true ? ['lib/fours_half', 'lib/half_four'] : ['lib/fours_whole'];
}

/** Workgroups of `group` heads that share a slice. */
export function quadsOf(p: Pick<AttentionParams, 'heads' | 'kvHeads'>, group: Group = QUAD): number {
  return p.kvHeads * ceilDiv(p.heads / p.kvHeads, group);
}

/**
 * Query heads of a workgroup: as few as keep the workgroups side by side, since each reads K and V from a cache anyway, and
 * otherwise four.
 */
export function quadGroup(p: QuadParams): Group {
  const fits = (group: Group) => p.splits * p.tokens * quadsOf(p, group) <= QUAD_WORKGROUPS;
  return p.group ?? ([1, 2] as const).find(fits) ?? QUAD;
}

/** Invocations that share the columns of a key: a power of two. */
function parts(D: number): number {
  return 2 ** Math.ceil(Math.log2(ceilDiv(padRow(D), COLUMNS_EACH)));
}

/** Positions that a workgroup of four heads fetches at a time from a binary16 cache, by head_dim. */
export function quadKeys(D: number): number {
  return mostKeys(D, 'f16', QUAD);
}

/** Most positions of a tile. */
function mostKeys(D: number, kv: KvFormat, group: Group): number {
  const words = (COLUMNS_EACH / 4) * (kv === 'f32' ? 4 : 2); // of a key, in one invocation
  const each = QUAD_REGISTERS[group] / 2 / words;
  return Math.min(QUAD_KEYS[group], (each * WG) / parts(D));
}

/** Positions of a tile of 256 invocations: half as many where a slice has no more. Two sizes only, so that pipelines are few. */
function tileKeys(p: QuadParams): number {
  const group = quadGroup(p);
  const most = mostKeys(p.D, p.kv, group);
  return group < QUAD && Math.min(p.splitLen, seenPositions(p)) <= most / 2 ? most / 2 : most;
}

export const mfa_quad: Kernel<QuadParams> = defineKernel<QuadParams>({
  ...mfa_decode,
  name: 'mfa_quad',
  summary:
    'attention for few tokens, up to four heads a workgroup; whole with the head-wise gate, or split over the context',
  variants: [subgroups('subgroup', 32), FEW_LANES, EIGHT_LANES, WORKGROUP],
  libs: (p) => [
    `lib/heads_${quadGroup(p)}`,
    ...kvEightLibs(p.kv),
    'lib/positions',
    gateLib(p.gates),
    p.splits === 1 ? 'lib/attend_whole' : 'lib/attend_parts',
  ],
  check(p) {
    attentionCheck('mfa_quad', p);
    wholeCheck('mfa_quad', p);
    if (p.half === true) throw new KernelError('mfa_quad', 'half: expected results in f32');
    // Pages are asked for before it is known how much a query sees.
    if (p.splits * p.splitLen < seenPositions(p))
      throw new KernelError(
        'mfa_quad',
        `splitLen: expected slices of all ${seenPositions(p)} positions, got ${p.splits} of ${p.splitLen}`,
      );
  },
  constants: (p) => ({
    HEADS: p.heads,
    KV_HEADS: p.kvHeads,
    D: p.D,
    PAGE,
    WINDOW: p.window ?? 0,
    PARTS: parts(p.D),
    TILE: tileKeys(p),
    WG,
    ...gateConstants(p.gates),
  }),
  bindings(p) {
    const { part_o, part_ml, ...inputs } = mfa_decode.bindings(p);
    if (p.splits > 1) return { ...inputs, part_o, part_ml };
    return {
      ...inputs,
      attn: { type: resultType(p), dims: [p.allTokens, p.heads, padRow(p.D)], use: 'out' },
      ...gateBindings(p.gates, p.allTokens),
    };
  },
  workgroups: (p) => [p.splits, p.tokens, quadsOf(p, quadGroup(p))],
  reference(p, io) {
    if (p.splits > 1) {
      mfa_decode.reference(p, io);
      return;
    }
    // A single slice, joined with nothing.
    const dims = partialDims(p);
    const made: Record<string, Float64Array> = {
      part_o: new Float64Array(dims.o.reduce((a, b) => a * b)),
      part_ml: new Float64Array(dims.ml.reduce((a, b) => a * b)),
    };
    const both: ReferenceIo = { ...io, f: (name) => made[name] ?? io.f(name) };
    mfa_decode.reference(p, both);
    mfa_combine.reference(p, both);
  },
  cost(p) {
    const seen = seenPositions(p);
    const partial = p.tokens * usedSlices(p, seen) * p.heads * (p.D + 2) * 4;
    return {
      flops: p.tokens * seen * p.heads * p.D * 4, // QKᵀ and PV, 2 each
      bytesRead:
        p.tokens * seen * 2 * kvRowBytes(p.kv, p.D) * p.kvHeads + // K and V rows, once for all quads of a KV head
        p.tokens * p.heads * p.D * 4 + // q
        (p.gates === undefined ? 0 : p.tokens * p.heads * 4), // gates
      bytesWritten: p.splits > 1 ? partial : p.tokens * p.heads * p.D * resultBytes(p), // partial results, or attention's output
    };
  },
  shapes: {
    test: [
      ...attentionShapes().map((shape) => ({ ...shape, once: !BOTH.test(shape.name) })),
      ...([2, 4] as const).flatMap((group) => [
        {
          name: `groups of ${group}, one short, more than a tile`,
          params: { ...groupedHeads(14, 2, 64, 'f16', 1, 640, [[0, 600]]), group },
          once: group < QUAD,
        },
        {
          name: `groups of ${group}, head_dim 256, a page table asked for twice`,
          params: { ...attentionCase(6, 256, 'f32', 2, 70, [[1, 130]]), group },
          once: true,
        },
      ]),
      {
        name: 'whole, gated heads, tokens 1..2 of 3',
        params: {
          ...groupedHeads(12, 2, 32, 'f16', 1, 640, [
            [0, 7],
            [0, 600],
            [1, 255],
          ]),
          tokenBegin: 1,
          tokens: 2,
          gates: { stride: 40, at: 20 },
        },
      },
      { name: 'whole, several tiles of 128', params: attentionCase(4, 128, 'f16', 1, 320, [[0, 300]]) },
      { name: 'whole, 6 heads of 64 a KV head', params: groupedHeads(12, 2, 64, 'f16', 1, 320, [[0, 256]]) },
      { name: 'whole, fp8, two tiles', params: groupedHeads(8, 2, 128, 'fp8', 1, 192, [[0, 190]]) },
      { name: 'idle columns and lanes', params: attentionCase(4, 72, 'f32', 2, 200, [[0, 290]]) },
    ],
    bench: [
      ...[128, 512].map((context) => ({
        name: `4 heads of 64, batch 1, context ${context}`,
        params: quadCase(4, 1, 64, context, 1),
        set: 'small' as const,
      })),
      ...[128, 256].map((context) => ({
        name: `64 heads on 8 KV heads of 128, batch 1, context ${context}`,
        params: quadCase(64, 8, 128, context, 1),
        set: 'real' as const,
      })),
      ...[1024, 4096].map((context) => ({
        name: `64 heads on 8 KV heads of 128, batch 1, context ${context}`,
        params: quadCase(64, 8, 128, context, 8),
        set: 'real' as const,
      })),
      ...[256, 1024].map((context) => ({
        name: `64 heads of 256, batch 1, context ${context}`,
        params: quadCase(64, 1, 256, context, 8),
        set: 'real' as const,
      })),
    ],
  },
});

/** One token's attention over `splits` equal slices, for benchmark lists. */
function quadCase(heads: number, kvHeads: number, D: number, context: number, splits: number): QuadParams {
  return groupedHeads(heads, kvHeads, D, 'f16', splits, ceilDiv(context, splits), [[0, context - 1]]);
}
