/** Which kernel computes the attention core of a step, and in which slices of the context. */
import type { AttentionFacts, ModelConfig } from '../config/index.ts';
import { type FreshHeads, turnsByLanes } from '../kernels/fresh_heads.ts';
import type { Capabilities } from '../kernels/kernel.ts';
import { kvRowBytes } from '../kernels/kv_cache.ts';
import { mfa_decode } from '../kernels/mfa_decode.ts';
import { fitsMatrixUnits, mfa_matrix } from '../kernels/mfa_matrix.ts';
import { mfa_prefill, prefillGroups, prefillTokens } from '../kernels/mfa_prefill.ts';
import { mfa_quad, QUAD_WORKGROUPS, quadKeys, quadsOf } from '../kernels/mfa_quad.ts';
import { abreastLength, fillsTiles, mfa_tile, TILE, tileKeys } from '../kernels/mfa_tile.ts';
import { contextSlices, OCCUPYING, type Slices } from '../kernels/slices.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { qkvLayout } from '../weights/layout.ts';
import type { StepShape } from './step.ts';

/** Positions per context slice when results must not depend on batch, chunking or pages. */
const DETERMINISTIC_SPLIT = 256;

/**
 * Most bytes of K and V that workgroups of four heads read: quads of a KV head read them again each, from a cache. Where
 * mfa_matrix is the choice beyond, and elsewhere.
 */
const QUAD_BYTES = { matrix: 6 * 1024 * 1024, plain: 64 * 1024 * 1024 } as const;

/** Tiles that one workgroup takes one after the other, rather than that a dispatch joins slices. */
const WHOLE_TILES = 2;

/** Most bytes of partial attention results; more tokens than fit are handled one range after the other. */
const PARTIAL_BYTES = 64 * 1024 * 1024;

/** How the attention core of a step is computed. */
export interface Core extends Slices {
  readonly kernel:
    | typeof mfa_quad
    | typeof mfa_tile
    | typeof mfa_prefill
    | typeof mfa_decode
    | typeof mfa_matrix;
  /** Set where it takes heads fresh from their projection. */
  readonly fresh?: FreshHeads;
}

/** Storage buffers that attention with fresh heads binds. */
const FRESH_BUFFERS = 10;

/** The heads of a step as mfa_tile may take them fresh, if it is chosen: no token sees the key of another. */
function freshHeads(
  caps: Capabilities,
  config: ModelConfig,
  { tokens, rows, cache }: StepShape,
  facts: AttentionFacts,
): FreshHeads | undefined {
  const { rope, latent } = facts;
  const alone = rows === 'one each' || tokens === 1;
  if (latent !== undefined || !alone || cache.kv === 'f32' || !turnsByLanes(rope.dim)) return undefined;
  if (caps.maxStorageBuffers < FRESH_BUFFERS) return undefined;
  return { rotary: rope.dim, stride: qkvLayout(facts).width, eps: config.rms_norm_eps };
}

/** Chooses the kernel and the slices, and whether it takes heads fresh, of which partial results have to fit into one call. */
export function chooseCore(
  caps: Capabilities,
  config: ModelConfig,
  shape: StepShape,
  facts: AttentionFacts,
): Core {
  const fresh = freshHeads(caps, config, shape, facts);
  const core = chooseSlices(shape, facts, fresh !== undefined);
  if (fresh === undefined || core.kernel !== mfa_tile) return core;
  return rangeTokens(shape, facts, core) < shape.tokens ? core : { ...core, fresh };
}

/** Chooses the kernel and the slices; `fresh`: mfa_tile may take heads fresh. */
function chooseSlices(shape: StepShape, facts: AttentionFacts, fresh: boolean): Core {
  const { heads, kvHeads, headDim: D, window } = facts;
  const { tokens, matrixUnits } = shape;
  const { kv } = shape.cache;
  const seen = Math.min(shape.context, window ?? shape.context); // at most, by a query
  const sliced = (kernel: Core['kernel'], splitLen: number): Core => ({
    kernel,
    splits: ceilDiv(seen, splitLen),
    splitLen,
  });
  if (shape.deterministic) return sliced(mfa_decode, DETERMINISTIC_SPLIT);
  const matrix = matrixUnits && fitsMatrixUnits({ D, kv, kvHeads, window });
  const tile = quadKeys(D);
  const whole = seen <= WHOLE_TILES * tile;
  const most = matrixUnits && fillsTiles(facts) ? tileKeys({ D, kv }) : 0;
  const tiled = most > 0 && (fresh || !(whole && tokens * heads <= QUAD_WORKGROUPS));
  // A workgroup decodes the fp8 of its slice tile after tile: for one token that takes longer than joining slices of a tile.
  if (fresh && seen <= (kv === 'fp8' && tokens === 1 ? Math.min(TILE, most) : most))
    return sliced(mfa_tile, seen);
  if (tiled) {
    // As short as leaves one round of workgroups; below, what others do not know, as long as may be.
    const length = abreastLength({ D, kv, heads, kvHeads, tokens }, seen);
    if (length !== undefined) return sliced(mfa_tile, length);
  }
  const shared = { heads, kvHeads, D, kv };
  const group = matrixUnits && shape.rows === 'prompts' ? prefillTokens(shared) : 0;
  if (group > 0 && tokens >= group) {
    return { kernel: mfa_prefill, ...contextSlices(seen, prefillGroups(shared, tokens), OCCUPYING.ahead) };
  }
  if (tiled && !matrix) return sliced(mfa_tile, most);
  const quads = tokens * quadsOf(facts);
  if (quads * seen * 2 * kvRowBytes(kv, D) <= QUAD_BYTES[matrix ? 'matrix' : 'plain']) {
    if (whole) return { kernel: mfa_quad, splits: 1, splitLen: seen };
    return sliced(mfa_quad, ceilDiv(ceilDiv(seen * quads, OCCUPYING.ahead), tile) * tile);
  }
  const each = tokens * kvHeads * ceilDiv(heads / kvHeads, 64);
  return matrix
    ? { kernel: mfa_matrix, ...contextSlices(seen, each, OCCUPYING.ahead) }
    : { kernel: mfa_decode, ...contextSlices(seen, each, OCCUPYING.plain) };
}

/** Whether a core makes attention's output itself, rather than partial results. */
export function isWhole({ kernel, splits }: Core): boolean {
  return splits === 1 && (kernel === mfa_quad || kernel === mfa_tile || kernel === mfa_prefill);
}

/** Whether attention's output may be binary16: heads have no padding, and mfa_quad does not make it. */
export function makesHalf(core: Core, headDim: number): boolean {
  return padRow(headDim) === headDim && !(isWhole(core) && core.kernel === mfa_quad);
}

/** Tokens of a call, so that partial results are small enough. */
export function rangeTokens(
  { tokens, maxBindingBytes }: StepShape,
  { heads, headDim }: AttentionFacts,
  core: Core,
): number {
  if (isWhole(core)) return tokens;
  const perToken = core.splits * heads * (padRow(headDim) + 2) * 4;
  const most = Math.floor(Math.min(PARTIAL_BYTES, maxBindingBytes) / perToken);
  return Math.max(1, Math.min(tokens, most));
}
