/** Plans of multi-token-prediction blocks, which guess the tokens after the next one. */
import { layerFacts, type ModelConfig } from '../config/index.ts';
import { rmsnorm } from '../kernels/rmsnorm.ts';
import { padRow } from '../tensor.ts';
import { planAttention } from './attention.ts';
import { planFfn } from './ffn.ts';
import { denseTiling, planLinear } from './linear.ts';
import { beginStep, type PlanOptions, planBeginning, planGreedy, planHead, type StepPlan } from './parts.ts';
import type { Plan } from './plan.ts';
import { matrixOf } from './step.ts';

/** Most rows of a sequence in a step that drafts: its last token, and as many drafts as a checkpoint has blocks. */
const DRAFTING_ROWS = 4;

/**
 * Block `block` over the rows of the step before, whose hidden states (of the trunk, or the block before) are in slot `h`
 * and whose places in `places`; slot `draft_ids` holds the token that is `block + 1` positions after each row's own. The
 * block's hidden states replace those in `h`. For the first `picked` rows in slot `picks`, the most probable token after
 * that one goes into slot `greedy_tokens`; with none, only the block's cache is filled.
 *
 * @throws KernelError when the shape exceeds the adapter's limits, or the layout has no such block.
 */
export function planDraft(
  config: ModelConfig,
  options: PlanOptions,
  block: number,
  tokens: number,
  context: number,
  picked: number,
): Plan {
  const layer = config.num_hidden_layers + block;
  // Of a step that drafts, every sequence has a few rows; of a prompt, one of many.
  const rows = tokens > DRAFTING_ROWS * picked ? 'prompts' : 'few each';
  const step = beginStep(config, options, tokens, context, 'places', rows);
  const { plan, layout, shape } = step;
  plan.enter('attention', layer);
  planBeginning(step, 'draft_ids', 'draft_embedding', [layerFacts(config, layer).attention]);
  planPair(step, `layers.${layer}`);
  planAttention(plan, config, layout, layer, shape);
  plan.enter('ffn', layer);
  planFfn(plan, config, layout, layer, shape);
  plan.enter('attention', layer);
  if (picked > 0) {
    const at = `layers.${layer}.shared_head`;
    planHead(step, { norm: `${at}.norm`, matrix: `${at}.output` }, picked);
    planGreedy(step, picked);
  }
  return plan.finish(tokens);
}

/** `h` = [RMS(embedding; enorm) ‖ RMS(h; hnorm)] eh_projᵀ. */
function planPair({ plan, config, layout, shape }: StepPlan, at: string): void {
  const K = config.hidden_size;
  const { tokens } = shape;
  const halves = [
    { x: 'draft_embedding', gamma: `${at}.enorm`, yAt: 0 },
    { x: 'h', gamma: `${at}.hnorm`, yAt: padRow(K) },
  ];
  for (const { x, gamma, yAt } of halves) {
    plan.call(
      rmsnorm,
      { tokens, K, xStride: padRow(K), yStride: 2 * padRow(K), yAt, eps: config.rms_norm_eps },
      { x, y: 'draft_pair', gamma },
      gamma,
    );
  }
  const weights = matrixOf(layout, `${at}.eh_proj`);
  planLinear(plan, {
    weights,
    x: 'draft_pair',
    y: 'h',
    rows: tokens,
    xRows: tokens,
    out: 'store',
    source: { kind: 'all' },
    tiling: denseTiling(tokens, shape, weights),
  });
}
