/** Attention block of a layer: projections, norms, RoPE and cache, attention core, o_proj. */
import { type AttentionFacts, layerFacts, type ModelConfig } from '../config/index.ts';
import type { GatesAt } from '../kernels/gates.ts';
import { kvRowBytes, targetOf } from '../kernels/kv_cache.ts';
import { kv_pack } from '../kernels/kv_pack.ts';
import { mfa_combine } from '../kernels/mfa_combine.ts';
import { type AttentionParams, mfa_decode } from '../kernels/mfa_decode.ts';
import { fitsMatrixUnits, mfa_matrix } from '../kernels/mfa_matrix.ts';
import { mfa_prefill, prefillGroups, prefillTokens } from '../kernels/mfa_prefill.ts';
import { mfa_quad, QUAD_WORKGROUPS, quadKeys, quadsOf } from '../kernels/mfa_quad.ts';
import { abreastLength, fillsTiles, mfa_tile, tileKeys } from '../kernels/mfa_tile.ts';
import { qk_norm_rope } from '../kernels/qk_norm_rope.ts';
import { rope_cache } from '../kernels/rope_cache.ts';
import { contextSlices, OCCUPYING, type Slices } from '../kernels/slices.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { pairsHeads, qkvLayout, type WeightLayout } from '../weights/layout.ts';
import { denseTiling, planLinear } from './linear.ts';
import type { PlanBuilder } from './plan.ts';
import { type ClassSlots, classSlots, matrixOf, type StepShape } from './step.ts';

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

/** Slots of new keys and values whose rows have to be whole before the cache takes them. */
const ROWS = { k_rows: 'k_rows', v_rows: 'v_rows' } as const;

/** What the parts of one attention block share. */
interface AttentionCall {
  readonly plan: PlanBuilder;
  readonly config: ModelConfig;
  readonly layout: WeightLayout;
  readonly shape: StepShape;
  /** Name of the layer in the layout. */
  readonly at: string;
  readonly facts: AttentionFacts;
  readonly slots: ClassSlots;
  readonly cache: { readonly k_cache: string; readonly v_cache: string };
  /** Slots of what makes keys and values beside those of its other results. */
  readonly kvSlots: Readonly<Record<string, string>>;
}

/** Adds the attention block of `layer`; reads and updates the residual stream `h` `[tokens, hidden_size]`. */
export function planAttention(
  plan: PlanBuilder,
  config: ModelConfig,
  layout: WeightLayout,
  layer: number,
  shape: StepShape,
): void {
  const at = `layers.${layer}`;
  const facts = layerFacts(config, layer).attention;
  const cache = { k_cache: `${at}.k_cache`, v_cache: `${at}.v_cache` };
  const slots = classSlots(shape, facts);
  const packs = shape.cache.kv === 'fp8';
  const kvSlots = packs ? ROWS : { cache_rows: slots.cacheRows, ...cache };
  const call = { plan, config, layout, shape, at, facts, slots, cache, kvSlots };
  if (facts.latent === undefined) planHeads(call);
  else planLatentQuery(call);
  if (packs) planPack(call);
  planCore(call);
  planLinear(plan, {
    ...denseRows(call, 'o_proj'),
    x: 'attn',
    xStride: facts.heads * padRow(facts.headDim),
    y: 'h',
    out: 'add',
  });
}

/** A linear layer that handles every token. */
function denseRows({ config, layout, shape, at }: AttentionCall, matrix: string) {
  const weights = matrixOf(layout, `${at}.${matrix}`);
  const tiling = denseTiling(shape.tokens, shape, weights);
  const { tokens } = shape;
  return {
    weights,
    rows: tokens,
    xRows: tokens,
    source: { kind: 'all' },
    tiling,
    eps: config.rms_norm_eps,
  } as const;
}

/** One projection for queries, keys, values and gates; heads are normalised and rotated on their way to `q_rope`. */
function planHeads(call: AttentionCall): void {
  const { plan, config, shape, at, facts, slots, kvSlots } = call;
  planLinear(plan, {
    ...denseRows(call, 'qkv_proj'),
    x: 'h',
    gamma: `${at}.input_layernorm`,
    y: 'qkv',
    out: 'store',
  });
  plan.call(
    qk_norm_rope,
    {
      tokens: shape.tokens,
      heads: facts.heads,
      kvHeads: facts.kvHeads,
      D: facts.headDim,
      rotary: facts.rope.dim,
      stride: qkvLayout(facts).width,
      eps: config.rms_norm_eps,
      kv: targetOf(shape.cache.kv),
      pages: slots.pages,
    },
    {
      turns: slots.turns,
      q_norm: `${at}.q_norm`,
      k_norm: `${at}.k_norm`,
      qkv: 'qkv',
      q_rope: 'q_rope',
      ...kvSlots,
    },
    `${at}.rope`,
  );
}

/** A low-rank query, normalised between its two projections; one key and one value head. */
function planLatentQuery(call: AttentionCall): void {
  const { plan, shape, at, facts, slots, kvSlots } = call;
  const { heads, headDim: D } = facts;
  const { keyAt, width } = qkvLayout(facts);
  const kv = targetOf(shape.cache.kv);
  const qkv = { ...denseRows(call, 'qkv_proj'), x: 'h', gamma: `${at}.input_layernorm` };
  const wq = { ...denseRows(call, 'wq'), gamma: `${at}.inter_norm` };
  if (pairsHeads(D)) {
    const rope = { D, kAt: keyAt, kv, pages: slots.pages };
    const outSlots = { turns: slots.turns, ...kvSlots };
    planLinear(plan, { ...qkv, y: 'q_latent', out: 'qkv', rope, outSlots });
    const turns = { turns: slots.turns };
    planLinear(plan, { ...wq, x: 'q_latent', y: 'q_rope', out: 'rope_q', rope, outSlots: turns });
    return;
  }
  planLinear(plan, { ...qkv, y: 'qkv', out: 'store' });
  planLinear(plan, { ...wq, x: 'qkv', xStride: width, y: 'q', out: 'store' });
  plan.call(
    rope_cache,
    { tokens: shape.tokens, heads, D, qkvStride: width, kAt: keyAt, kv, pages: slots.pages },
    { turns: slots.turns, q: 'q', qkv: 'qkv', q_rope: 'q_rope', ...kvSlots },
    `${at}.rope`,
  );
}

/** New keys and values from their rows into the cache. */
function planPack({ plan, shape, at, facts, slots, cache }: AttentionCall): void {
  const { kvHeads, headDim: D } = facts;
  plan.call(
    kv_pack,
    { tokens: shape.tokens, kvHeads, D, pages: slots.pages },
    { cache_rows: slots.cacheRows, ...ROWS, ...cache },
    `${at}.kv_pack`,
  );
}

/** How the attention core of a step is computed. */
interface Core extends Slices {
  readonly kernel:
    | typeof mfa_quad
    | typeof mfa_tile
    | typeof mfa_prefill
    | typeof mfa_decode
    | typeof mfa_matrix;
}

/** Chooses the kernel and the slices; `seen`: the most positions that a query of the step sees. */
function chooseCore({ shape, facts }: AttentionCall, seen: number): Core {
  const { heads, kvHeads, headDim: D, window } = facts;
  const { tokens, matrixUnits } = shape;
  const { kv } = shape.cache;
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
  const tiled = most > 0 && !(whole && tokens * heads <= QUAD_WORKGROUPS);
  if (tiled) {
    // As short as leaves one round of workgroups; below, what others do not know, as long as may be.
    const length = abreastLength({ D, kv, heads, kvHeads, tokens }, seen);
    if (length !== undefined) return sliced(mfa_tile, length);
  }
  const shared = { heads, kvHeads, D, kv };
  const group = matrixUnits && shape.prompts ? prefillTokens(shared) : 0;
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

/** The attention core over ranges of tokens small enough for the partial results. */
function planCore(call: AttentionCall): void {
  const { plan, shape, at, facts, slots, cache } = call;
  const { heads, kvHeads, headDim: D, window } = facts;
  const { kv, sequences } = shape.cache;
  const { kernel, splits, splitLen } = chooseCore(call, Math.min(shape.context, window ?? shape.context));
  const whole = splits === 1 && (kernel === mfa_quad || kernel === mfa_tile || kernel === mfa_prefill);
  const perToken = splits * heads * (padRow(D) + 2) * 4;
  const budget = Math.min(PARTIAL_BYTES, shape.maxBindingBytes);
  const most = whole ? shape.tokens : Math.floor(budget / perToken);
  const rangeTokens = Math.max(1, Math.min(shape.tokens, most));
  const gates: GatesAt | undefined = facts.gate
    ? { stride: qkvLayout(facts).width, at: qkvLayout(facts).gateAt }
    : undefined;
  const places = shape.placesSlot;
  const inputs = { places, page_table: slots.pageTable, q_rope: 'q_rope', ...cache };
  const parts = { part_o: 'part_o', part_ml: 'part_ml' };
  const results = { attn: 'attn', ...(gates === undefined ? {} : { gates: 'qkv' }) };
  for (let begin = 0; begin < shape.tokens; begin += rangeTokens) {
    const params: AttentionParams = {
      allTokens: shape.tokens,
      tokenBegin: begin,
      tokens: Math.min(rangeTokens, shape.tokens - begin),
      heads,
      kvHeads,
      D,
      kv,
      ...(window === undefined ? {} : { window }),
      sequences,
      maxPages: slots.maxPages,
      pages: slots.pages,
      splits,
      splitLen,
      context: shape.context,
    };
    const gated = gates === undefined ? params : { ...params, gates };
    if (whole) {
      plan.call(kernel, gated, { ...inputs, ...results }, `${at}.mfa_decode`);
      continue;
    }
    plan.call(kernel, params, { ...inputs, ...parts }, `${at}.mfa_decode`);
    plan.call(mfa_combine, gated, { places, ...parts, ...results }, `${at}.mfa_combine`);
  }
}
