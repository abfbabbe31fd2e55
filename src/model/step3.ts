/** Plans of a model: embedding, layers, final norm, lm_head, sampling. */
import {
  type AttentionFacts,
  layerClasses,
  layerFacts,
  type ModelConfig,
  mtpBlocks,
} from '../config/index.ts';
import { embed_tokens } from '../kernels/embed_tokens.ts';
import type { Capabilities } from '../kernels/kernel.ts';
import { rope_turns } from '../kernels/rope_turns.ts';
import { sample } from '../kernels/sample.ts';
import { padRow } from '../tensor.ts';
import { shardName, type WeightLayout } from '../weights/layout.ts';
import { planAttention } from './attention.ts';
import type { CacheShape } from './cache.ts';
import { planFfn } from './ffn.ts';
import { denseTiling, planLinear } from './linear.ts';
import { type Plan, PlanBuilder, type SlotPurpose } from './plan.ts';
import { classSlots, matrixOf, PAGE_TABLE, RING_TABLE, type StepShape } from './step.ts';

/** What planning needs beside the configuration. */
export interface PlanOptions {
  readonly layout: WeightLayout;
  readonly cache: CacheShape;
  readonly caps: Capabilities;
  /** Kernel variants whose order of additions does not depend on batch, chunking or pages. */
  readonly deterministic: boolean;
}

/**
 * One decoding step: each of `batch` sequences has one new token, taken with its place from the slots that sampling
 * writes (`next_tokens`, `next_places`), so that steps follow each other without the host.
 *
 * `context`: no position of the step is at or beyond it; slices of the context are planned for it.
 *
 * @throws KernelError when the shape exceeds the adapter's limits.
 */
export function planDecode(config: ModelConfig, options: PlanOptions, batch: number, context: number): Plan {
  const plan = new PlanBuilder(options.caps, (slot) => slotPurpose(options.layout, slot));
  const shape = stepShape(config, options, batch, context, 'next_places');
  planLayers(plan, config, options.layout, shape, 'next_tokens');
  planHead(plan, config, options.layout, shape, batch, false);
  planSample(plan, config, batch, options.cache.sequences);
  return plan.finish(batch);
}

/** Which rows of a prefill step get logits. */
export type LogitRows =
  | { readonly kind: 'none' }
  | { readonly kind: 'all' }
  | { readonly kind: 'picked'; readonly rows: number };

/**
 * One chunk of prompt tokens, of one or several sequences, with ids and places from the slots `token_ids` and `places`.
 *
 * With picked rows (slot `picks`) the next token of each is sampled; with all rows, logits are left in slot `logits`.
 *
 * @throws KernelError when the shape exceeds the adapter's limits.
 */
export function planPrefill(
  config: ModelConfig,
  options: PlanOptions,
  tokens: number,
  context: number,
  logits: LogitRows,
): Plan {
  const plan = new PlanBuilder(options.caps, (slot) => slotPurpose(options.layout, slot));
  const shape = stepShape(config, options, tokens, context, 'places');
  planLayers(plan, config, options.layout, shape, 'token_ids');
  if (logits.kind === 'all') planHead(plan, config, options.layout, shape, tokens, false);
  if (logits.kind === 'picked') {
    planHead(plan, config, options.layout, shape, logits.rows, true);
    planSample(plan, config, logits.rows, options.cache.sequences);
  }
  return plan.finish(tokens);
}

function stepShape(
  config: ModelConfig,
  options: PlanOptions,
  tokens: number,
  context: number,
  placesSlot: string,
): StepShape {
  const { cache, caps, deterministic } = options;
  return {
    tokens,
    cache,
    classes: layerClasses(config, mtpBlocks(config)),
    context,
    deterministic,
    matrixUnits: caps.matrixUnits && !deterministic,
    maxBindingBytes: caps.maxBindingBytes,
    placesSlot,
  };
}

function planLayers(
  plan: PlanBuilder,
  config: ModelConfig,
  layout: WeightLayout,
  shape: StepShape,
  ids: string,
): void {
  plan.enter('attention');
  const table = matrixOf(layout, 'embed_tokens');
  for (const [i, shard] of table.shards.entries()) {
    plan.call(
      embed_tokens,
      {
        format: table.format,
        tokens: shape.tokens,
        K: config.hidden_size,
        rowBegin: shard.rowBegin,
        rowCount: shard.rowCount,
      },
      { w: shardName('embed_tokens', i), token_ids: ids, h: 'h' },
      'embed_tokens',
    );
  }
  // Every class of layers once, by the first layer of it.
  const seen = new Set<string>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const facts = layerFacts(config, layer).attention;
    const { turns } = classSlots(shape, facts);
    if (!seen.has(turns)) planTurns(plan, facts, shape);
    seen.add(turns);
  }
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    plan.enter('attention', layer);
    planAttention(plan, config, layout, layer, shape);
    plan.enter('ffn', layer);
    planFfn(plan, config, layout, layer, shape);
  }
  plan.enter('attention');
}

/** Rotary angles and cache rows of the class of layers that `facts` belong to. */
function planTurns(plan: PlanBuilder, facts: AttentionFacts, shape: StepShape): void {
  const { cache, tokens, placesSlot } = shape;
  const slots = classSlots(shape, facts);
  plan.call(
    rope_turns,
    { tokens, rope: facts.rope, sequences: cache.sequences, maxPages: slots.maxPages },
    {
      places: placesSlot,
      page_table: slots.pageTable,
      frequencies: slots.frequencies,
      cache_rows: slots.cacheRows,
      turns: slots.turns,
    },
    slots.turns === 'turns' ? 'rope_turns' : `rope_turns (${slots.turns})`,
  );
}

function planHead(
  plan: PlanBuilder,
  config: ModelConfig,
  layout: WeightLayout,
  shape: StepShape,
  rows: number,
  picked: boolean,
): void {
  planLinear(plan, {
    weights: matrixOf(layout, 'lm_head'),
    x: 'h',
    y: 'logits',
    rows,
    xRows: shape.tokens,
    gamma: 'norm',
    eps: config.rms_norm_eps,
    out: 'store',
    source: picked ? { kind: 'picked', sourceRows: shape.tokens } : { kind: 'all' },
    ...(picked ? { sourceSlots: { picks: 'picks' } } : {}),
    tiling: denseTiling(rows, shape, matrixOf(layout, 'lm_head')),
  });
}

function planSample(plan: PlanBuilder, config: ModelConfig, rows: number, sequences: number): void {
  plan.call(
    sample,
    { rows, vocab: config.vocab_size, logitsStride: padRow(config.vocab_size), sequences },
    {
      logits: 'logits',
      row_sequences: 'row_sequences',
      options: 'sampling_options',
      seen: 'seen_tokens',
      next_tokens: 'next_tokens',
      next_places: 'next_places',
    },
    'sample',
  );
}

const INPUTS = new Set([
  'token_ids',
  'places',
  PAGE_TABLE,
  RING_TABLE,
  'picks',
  'row_sequences',
  'sampling_options',
  'seen_tokens',
  'next_tokens',
  'next_places',
]);

function slotPurpose(layout: WeightLayout, name: string): SlotPurpose {
  if (INPUTS.has(name) || name.startsWith('rope_frequencies')) return 'inputs';
  if (name.endsWith('_cache')) return 'cache';
  return name.includes('#') || layout.vectors.has(name) ? 'weights' : 'activations';
}
