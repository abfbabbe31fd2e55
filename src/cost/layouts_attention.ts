/** Layouts of attention and of what prepares it. */
import type { PackParams } from '../kernels/kv_pack.ts';
import { type AttentionParams, seenPositions } from '../kernels/mfa_decode.ts';
import { PREFILL_KEYS, type PrefillParams, prefillGroups, prefillRows } from '../kernels/mfa_prefill.ts';
import { quadGroup } from '../kernels/mfa_quad.ts';
import { TILE, TILE_HEADS, type TileParams } from '../kernels/mfa_tile.ts';
import type { NormRopeParams } from '../kernels/qk_norm_rope.ts';
import type { RopeParams } from '../kernels/rope_cache.ts';
import type { TurnsParams } from '../kernels/rope_turns.ts';
import { sliceLength, usedSlices } from '../kernels/slices.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { constantsOf, type LaidOut, type Layout, type LayoutOf } from './layout.ts';
import type { Work } from './work.ts';

/** Invocations of mfa_combine, and of the kernels that handle a group of four elements each. */
const COMBINE = 256;
const NARROW = 64;

/** Slices that an invocation of mfa_combine has under way. */
const COMBINE_AHEAD = 8;

/** Columns of a key that count as one iteration of mfa_decode. */
const COLUMNS = 16;

/** `keys`: positions of a tile; `group`: heads of a workgroup. */
function slices(call: LaidOut, keys: number, group: number, units: Work['units']): Layout {
  const p = call.params as AttentionParams;
  const seen = seenPositions(p);
  const slice = Math.min(sliceLength(p, seen), seen);
  const groups = p.kvHeads * ceilDiv(p.heads / p.kvHeads, group);
  return {
    family: `${call.kernel.name} ${p.kv}`,
    workgroups: usedSlices(p, seen) * p.tokens * groups,
    depth: ceilDiv(slice, keys),
    groupFlops: 4 * ceilDiv(slice, keys) * keys * group * p.D,
    units,
  };
}

function mfaDecode(call: LaidOut): Layout {
  const { heads, kvHeads, D } = call.params as AttentionParams;
  const group = Math.min(64, ceilDiv(heads / kvHeads, 4) * 4);
  const layout = slices(call, group <= 32 ? 64 : 32, group, 'fma');
  return {
    ...layout,
    // Few heads leave less to share.
    family: `${layout.family} ${group <= 4 ? '4' : group <= 16 ? '16' : '64'} heads`,
    // A tile's keys are read a few columns at a time, one after the other.
    depth: layout.depth * ceilDiv(D, COLUMNS),
  };
}

function mfaQuad(call: LaidOut): Layout {
  const p = call.params as AttentionParams;
  const { TILE: keys, WG } = constantsOf(call);
  const layout = slices(call, (keys * WG) / 256, quadGroup(p), 'fma');
  // The last step of several slices is mfa_combine's.
  return { ...layout, family: `${layout.family} ${p.splits > 1 ? 'parts' : 'whole'} x${quadGroup(p)}` };
}

function mfaTile(call: LaidOut): Layout {
  const { splits, fresh } = call.params as TileParams;
  const layout = slices(call, TILE, TILE_HEADS, 'matrix');
  const family = `${layout.family} ${splits > 1 ? 'parts' : 'whole'}`;
  return { ...layout, family: fresh === undefined ? family : `${family} fresh` };
}

/** Workgroups that have as many rows each as several tokens have heads. */
function mfaPrefill(call: LaidOut): Layout {
  const p = call.params as PrefillParams;
  const layout = slices(call, PREFILL_KEYS, prefillRows(p), 'matrix');
  return {
    ...layout,
    workgroups: usedSlices(p, seenPositions(p)) * prefillGroups(p, p.tokens),
    family: `${layout.family} ${p.splits > 1 ? 'parts' : 'whole'}`,
  };
}

function mfaCombine(call: LaidOut): Layout {
  const p = call.params as AttentionParams;
  const used = usedSlices(p, seenPositions(p));
  const abreast = COMBINE_AHEAD * Math.min(16, Math.floor(COMBINE / (padRow(p.D) / 4)));
  return {
    family: 'mfa_combine',
    workgroups: p.tokens * p.heads,
    depth: ceilDiv(used, abreast),
    groupFlops: 2 * used * p.D,
  };
}

function ropeTurns(call: LaidOut): Layout {
  const p = call.params as TurnsParams;
  const pairs = p.rope.dim / 2;
  const depth = ceilDiv(pairs, NARROW);
  return { family: 'rope_turns', workgroups: p.tokens, depth, groupFlops: 20 * pairs };
}

function ropeCache(call: LaidOut): Layout {
  const p = call.params as RopeParams;
  const workgroups = ceilDiv(((p.heads + 2) * padRow(p.D)) / 4, NARROW) * p.tokens;
  return { family: 'rope_cache', workgroups, depth: 1, groupFlops: 3 * 4 * NARROW };
}

function qkNormRope(call: LaidOut): Layout {
  const p = call.params as NormRopeParams;
  const { WG } = constantsOf(call);
  const D8 = padRow(p.D);
  const headsEach = Math.floor(WG / (D8 / 4));
  return {
    family: 'qk_norm_rope',
    workgroups: ceilDiv(p.heads + 2 * p.kvHeads, headsEach) * p.tokens,
    depth: 1,
    // Every invocation adds up the squares of its head.
    groupFlops: WG * (D8 / 4 + 4 * 9),
  };
}

function kvPack(call: LaidOut): Layout {
  const p = call.params as PackParams;
  const D8 = padRow(p.D);
  return {
    family: 'kv_pack',
    workgroups: 2 * p.kvHeads * p.tokens,
    // A row is read for its largest element, and again after a barrier.
    depth: 1 + 2 * ceilDiv(D8 / 4, NARROW),
    groupFlops: 2 * D8,
  };
}

export const ATTENTION_LAYOUTS: Readonly<Record<string, LayoutOf>> = {
  mfa_matrix: (call) => slices(call, 32, 64, 'matrix'),
  mfa_decode: mfaDecode,
  mfa_quad: mfaQuad,
  mfa_tile: mfaTile,
  mfa_prefill: mfaPrefill,
  mfa_combine: mfaCombine,
  rope_turns: ropeTurns,
  rope_cache: ropeCache,
  qk_norm_rope: qkNormRope,
  kv_pack: kvPack,
};
