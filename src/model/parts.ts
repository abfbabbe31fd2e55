/** What the steps of a model are made of, outside its layers: embedding, rotary angles, head, sampling. */
import { type AttentionFacts, layerClasses, type ModelConfig, mtpBlocks } from '../config/index.ts';
import { EMBED_BUFFERS, embed_tokens, joinedClasses } from '../kernels/embed_tokens.ts';
import { type Capabilities, SMALL_SUBGROUP_TEAM } from '../kernels/kernel.ts';
import { logit_peaks } from '../kernels/logit_peaks.ts';
import { rope_turns } from '../kernels/rope_turns.ts';
import { sample } from '../kernels/sample.ts';
import { padRow } from '../tensor.ts';
import { shardName, type WeightLayout } from '../weights/layout.ts';
import type { CacheShape } from './cache.ts';
import { denseTiling, planLinear } from './linear.ts';
import { PlanBuilder, type SlotPurpose } from './plan.ts';
import { classSlots, matrixOf, PAGE_TABLE, RING_TABLE, type StepRows, type StepShape } from './step.ts';

/** What planning needs beside the configuration. */
export interface PlanOptions {
  readonly layout: WeightLayout;
  readonly cache: CacheShape;
  readonly caps: Capabilities;
  /** Kernel variants whose order of additions does not depend on batch, chunking or pages. */
  readonly deterministic: boolean;
}

/** A step that is being planned. */
export interface StepPlan {
  readonly plan: PlanBuilder;
  readonly config: ModelConfig;
  readonly layout: WeightLayout;
  readonly shape: StepShape;
}

/** Begins the plan of a step of `tokens` rows whose places stand in `placesSlot`. */
export function beginStep(
  config: ModelConfig,
  options: PlanOptions,
  tokens: number,
  context: number,
  placesSlot: string,
  rows: StepRows,
): StepPlan {
  const { layout, cache, caps, deterministic } = options;
  const shape = {
    tokens,
    cache,
    classes: layerClasses(config, mtpBlocks(config)),
    context,
    deterministic,
    matrixUnits: caps.matrixUnits && !deterministic,
    processor: SMALL_SUBGROUP_TEAM.available(caps),
    maxBindingBytes: caps.maxBindingBytes,
    placesSlot,
    rows,
  };
  return { plan: new PlanBuilder(caps, (slot) => slotPurpose(layout, slot)), config, layout, shape };
}

/**
 * Embeddings of the tokens in slot `ids` into slot `h`; rotary angles and cache rows of the classes of layers that `facts`
 * belong to, in the same call as far as it binds what they need.
 */
export function planBeginning(
  step: StepPlan,
  ids: string,
  h: string,
  facts: readonly AttentionFacts[],
): void {
  const { plan, config, layout, shape } = step;
  const { own, places, each, classes } = EMBED_BUFFERS;
  const room = Math.floor((plan.caps.maxStorageBuffers - own - places) / each);
  const turns = facts.map((of) => turnsCall(shape, of));
  const together = turns.splice(0, Math.max(0, Math.min(room, classes)));
  const table = matrixOf(layout, 'embed_tokens');
  for (const [i, shard] of table.shards.entries()) {
    const here = i === 0 ? together : [];
    plan.call(
      embed_tokens,
      {
        format: shard.format,
        ...(shard.group === undefined ? {} : { group: shard.group }),
        tokens: shape.tokens,
        K: config.hidden_size,
        rowBegin: shard.rowBegin,
        rowCount: shard.rowCount,
        classes: here.map(({ params }) => params),
      },
      {
        w: shardName('embed_tokens', i),
        token_ids: ids,
        h,
        ...joinedClasses(here.map(({ bound }) => bound)),
      },
      'embed_tokens',
    );
  }
  for (const { params, bound } of turns) {
    const label = bound.turns === 'turns' ? 'rope_turns' : `rope_turns (${bound.turns})`;
    plan.call(rope_turns, params, bound, label);
  }
}

/** The call of rope_turns for the class of layers that `facts` belong to. */
function turnsCall(shape: StepShape, facts: AttentionFacts) {
  const { cache, tokens, placesSlot: places } = shape;
  const {
    pageTable: page_table,
    maxPages,
    frequencies,
    cacheRows: cache_rows,
    turns,
  } = classSlots(shape, facts);
  return {
    params: { tokens, rope: facts.rope, sequences: cache.sequences, maxPages },
    bound: { places, page_table, frequencies, cache_rows, turns },
  };
}

/** An output head: its norm and its matrix in the layout. */
export interface Head {
  readonly norm: string;
  readonly matrix: string;
}

/** The trunk's own head. */
export const LM_HEAD: Head = { norm: 'norm', matrix: 'lm_head' };

/** Logits of all rows of `h`, or of the first `picked` rows in slot `picks`. */
export function planHead({ plan, config, layout, shape }: StepPlan, head: Head, picked?: number): void {
  const rows = picked ?? shape.tokens;
  const weights = matrixOf(layout, head.matrix);
  planLinear(plan, {
    weights,
    x: 'h',
    y: 'logits',
    rows,
    xRows: shape.tokens,
    gamma: head.norm,
    eps: config.rms_norm_eps,
    out: 'store',
    source: picked === undefined ? { kind: 'all' } : { kind: 'picked', sourceRows: shape.tokens },
    ...(picked === undefined ? {} : { sourceSlots: { picks: 'picks' } }),
    tiling: denseTiling(rows, shape, weights),
  });
}

/** Slots of sampling for sequences that go on with what was sampled. */
const SAMPLED = {
  row_sequences: 'row_sequences',
  options: 'sampling_options',
  seen: 'seen_tokens',
  next_tokens: 'next_tokens',
  next_places: 'next_places',
} as const;

/** The same for rows of which each has a result of its own: the most probable token, whatever it is used for. */
const GREEDY = {
  row_sequences: 'greedy_rows',
  options: 'greedy_options',
  seen: 'greedy_seen',
  next_tokens: 'greedy_tokens',
  next_places: 'greedy_places',
} as const;

/** The next token of each of `rows` sequences, and its place. */
export function planSample({ plan, config, shape }: StepPlan, rows: number): void {
  sampleRows(plan, config, rows, shape.cache.sequences, SAMPLED, 'sample');
}

/** The most probable token of each of `rows` rows into slot `greedy_tokens`. */
export function planGreedy({ plan, config }: StepPlan, rows: number): void {
  sampleRows(plan, config, rows, rows, GREEDY, 'greedy');
}

/**
 * Vocabulary from which the largest logits of blocks are found first. `sample` alone reads a row 4,096 logits at a time,
 * each time as long as it takes to get through a dispatch; looking for peaks costs two: its own, and its loads before
 * those of `sample`.
 */
const PEAKS_FROM = 4 * 4096;

function sampleRows(
  plan: PlanBuilder,
  config: ModelConfig,
  rows: number,
  sequences: number,
  slots: typeof SAMPLED | typeof GREEDY,
  label: string,
): void {
  const vocab = config.vocab_size;
  const params = { rows, vocab, logitsStride: padRow(vocab), sequences };
  const peaks = vocab >= PEAKS_FROM;
  const { row_sequences, options, seen } = slots;
  if (peaks) {
    const bound = { logits: 'logits', row_sequences, options, seen, peaks: 'logit_peaks' };
    plan.call(logit_peaks, params, bound, `${label}.peaks`);
  }
  const bound = { logits: 'logits', ...slots, ...(peaks ? { peaks: 'logit_peaks' } : {}) };
  plan.call(sample, { ...params, peaks }, bound, label);
}

const INPUTS = new Set<string>([
  'token_ids',
  'draft_ids',
  'places',
  PAGE_TABLE,
  RING_TABLE,
  'picks',
  ...Object.values(SAMPLED),
  ...Object.values(GREEDY),
]);

function slotPurpose(layout: WeightLayout, name: string): SlotPurpose {
  if (INPUTS.has(name) || name.startsWith('rope_frequencies')) return 'inputs';
  if (name.endsWith('_cache')) return 'cache';
  return name.includes('#') || layout.vectors.has(name) ? 'weights' : 'activations';
}
