/** Attention block of a layer: projections, norms, RoPE and cache, attention core, o_proj. */
import { type AttentionFacts, layerFacts, type ModelConfig } from '../config/index.ts';
import type { FreshParams } from '../kernels/fresh_heads.ts';
import type { GatesAt } from '../kernels/gates.ts';
import { targetOf } from '../kernels/kv_cache.ts';
import { kv_pack } from '../kernels/kv_pack.ts';
import { mfa_combine } from '../kernels/mfa_combine.ts';
import { qk_norm_rope } from '../kernels/qk_norm_rope.ts';
import { rope_cache } from '../kernels/rope_cache.ts';
import { padRow } from '../tensor.ts';
import { pairsHeads, qkvLayout, type WeightLayout } from '../weights/layout.ts';
import { type Core, chooseCore, isWhole, makesHalf, rangeTokens } from './attention_core.ts';
import { denseTiling, planLinear, readsHalf, typedSlot } from './linear.ts';
import type { PlanBuilder } from './plan.ts';
import { type ClassSlots, classSlots, matrixOf, type StepShape } from './step.ts';

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
  readonly core: Core;
  /** Whether attention's output is binary16. */
  readonly half: boolean;
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
  const core = chooseCore(plan.caps, config, shape, facts);
  const packs = shape.cache.kv === 'fp8' && core.fresh === undefined;
  const kvSlots = packs ? ROWS : { cache_rows: slots.cacheRows, ...cache };
  const { tiling } = denseRows({ config, layout, shape, at }, 'o_proj');
  const half = readsHalf(tiling) && makesHalf(core, facts.headDim);
  const call = { plan, config, layout, shape, at, facts, slots, cache, kvSlots, core, half };
  if (facts.latent === undefined) planHeads(call);
  else planLatentQuery(call);
  if (packs) planPack(call);
  planCore(call);
  planLinear(plan, {
    ...denseRows(call, 'o_proj'),
    x: typedSlot('attn', half),
    xHalf: half,
    xStride: facts.heads * padRow(facts.headDim),
    y: 'h',
    out: 'add',
  });
}

/** A linear layer that handles every token. */
function denseRows(
  { config, layout, shape, at }: Pick<AttentionCall, 'config' | 'layout' | 'shape' | 'at'>,
  matrix: string,
) {
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

/**
 * One projection for queries, keys, values and gates; heads are normalised and rotated on their way to `q_rope`, unless
 * attention does so itself.
 */
function planHeads(call: AttentionCall): void {
  const { plan, config, shape, at, facts, slots, kvSlots, core } = call;
  planLinear(plan, {
    ...denseRows(call, 'qkv_proj'),
    x: 'h',
    gamma: `${at}.input_layernorm`,
    y: 'qkv',
    out: 'store',
  });
  if (core.fresh !== undefined) return;
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

/** The attention core over ranges of tokens. */
function planCore(call: AttentionCall): void {
  const { plan, shape, at, facts, slots, cache, core, half } = call;
  const { heads, kvHeads, headDim: D, window } = facts;
  const { kv, sequences } = shape.cache;
  const { kernel, splits, splitLen, fresh } = core;
  const range = rangeTokens(shape, facts, core);
  const gates: GatesAt | undefined = facts.gate
    ? { stride: qkvLayout(facts).width, at: qkvLayout(facts).gateAt }
    : undefined;
  const places = shape.placesSlot;
  const prepared =
    fresh === undefined
      ? { q_rope: 'q_rope' }
      : { qkv: 'qkv', turns: slots.turns, q_norm: `${at}.q_norm`, k_norm: `${at}.k_norm` };
  const inputs = { places, page_table: slots.pageTable, ...prepared, ...cache };
  const parts = { part_o: 'part_o', part_ml: 'part_ml' };
  const results = { attn: typedSlot('attn', half), ...(gates === undefined ? {} : { gates: 'qkv' }) };
  for (let begin = 0; begin < shape.tokens; begin += range) {
    const params: FreshParams = {
      allTokens: shape.tokens,
      tokenBegin: begin,
      tokens: Math.min(range, shape.tokens - begin),
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
      ...(fresh === undefined ? {} : { fresh }),
    };
    const gated = {
      ...params,
      ...(gates === undefined ? {} : { gates }),
      ...(half ? { half } : {}),
    };
    if (isWhole(core)) {
      plan.call(kernel, gated, { ...inputs, ...results }, `${at}.mfa_decode`);
      continue;
    }
    plan.call(kernel, params, { ...inputs, ...parts }, `${at}.mfa_decode`);
    plan.call(mfa_combine, gated, { places, ...parts, ...results }, `${at}.mfa_combine`);
  }
}
