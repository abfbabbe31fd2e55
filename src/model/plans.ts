/** Plans of a model's steps: embedding, layers, final norm, lm_head, sampling. */
import { type AttentionFacts, layerFacts, type ModelConfig } from '../config/index.ts';
import { planAttention } from './attention.ts';
import { planFfn } from './ffn.ts';
import {
  beginStep,
  LM_HEAD,
  type PlanOptions,
  planBeginning,
  planGreedy,
  planHead,
  planSample,
  type StepPlan,
} from './parts.ts';
import type { Plan } from './plan.ts';
import { classSlots } from './step.ts';

export type { PlanOptions } from './parts.ts';

/**
 * One decoding step: each of `batch` sequences has one new token, taken with its place from the slots that sampling
 * writes (`next_tokens`, `next_places`), so that steps follow each other without the host.
 *
 * `context`: no position of the step is at or beyond it; slices of the context are planned for it.
 *
 * @throws KernelError when the shape exceeds the adapter's limits.
 */
export function planDecode(config: ModelConfig, options: PlanOptions, batch: number, context: number): Plan {
  const step = beginStep(config, options, batch, context, 'next_places', 'one each');
  planTrunk(step, 'next_tokens');
  planHead(step, LM_HEAD);
  planSample(step, batch);
  return step.plan.finish(batch);
}

/** Which rows of a prefill step get logits, and what becomes of them. */
export type LogitRows =
  | { readonly kind: 'none' }
  /** Logits of all rows are left in slot `logits`. */
  | { readonly kind: 'all' }
  /** The next token is sampled from each of the rows in slot `picks`. */
  | { readonly kind: 'picked'; readonly rows: number }
  /** The most probable token of every row goes into slot `greedy_tokens`. */
  | { readonly kind: 'greedy' };

/**
 * New tokens of one or several sequences, any number of each, with ids and places from the slots `token_ids` and
 * `places`: a chunk of prompts, or drafts to be verified. Their hidden states are left in slot `h`.
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
  const rows = logits.kind === 'greedy' ? 'few each' : 'prompts';
  const step = beginStep(config, options, tokens, context, 'places', rows);
  planTrunk(step, 'token_ids');
  if (logits.kind === 'all') planHead(step, LM_HEAD);
  if (logits.kind === 'greedy') {
    planHead(step, LM_HEAD);
    planGreedy(step, tokens);
  }
  if (logits.kind === 'picked') {
    planHead(step, LM_HEAD, logits.rows);
    planSample(step, logits.rows);
  }
  return step.plan.finish(tokens);
}

/** Embeddings of the tokens in slot `ids`, and every layer, into slot `h`. */
function planTrunk(step: StepPlan, ids: string): void {
  const { plan, config, layout, shape } = step;
  plan.enter('attention');
  // Every class of layers once, by the first layer of it.
  const classes = new Map<string, AttentionFacts>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const facts = layerFacts(config, layer).attention;
    const { turns } = classSlots(shape, facts);
    if (!classes.has(turns)) classes.set(turns, facts);
  }
  planBeginning(step, ids, 'h', [...classes.values()]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    plan.enter('attention', layer);
    planAttention(plan, config, layout, layer, shape);
    plan.enter('ffn', layer);
    planFfn(plan, config, layout, layer, shape);
  }
  plan.enter('attention');
}
