/** FFN block of a layer: dense SwiGLU, or a mixture of experts with a shared expert. */
import type { Step3Config } from '../config/index.ts';
import { maxTiles } from '../kernels/linear.ts';
import { moe_combine } from '../kernels/moe_combine.ts';
import { moe_group } from '../kernels/moe_group.ts';
import { moe_router } from '../kernels/moe_router.ts';
import { shardName, type WeightLayout } from '../weights/layout.ts';
import { denseTile, expertTile, planLinear } from './linear.ts';
import type { PlanBuilder } from './plan.ts';
import { matrixOf, type StepShape } from './step.ts';

/** Adds the FFN of `layer`; reads and updates the residual stream `h` `[tokens, hidden_size]`. */
export function planFfn(
  plan: PlanBuilder,
  config: Step3Config,
  layout: WeightLayout,
  layer: number,
  shape: StepShape,
): void {
  const at = `layers.${layer}`;
  const gamma = `${at}.post_attention_layernorm`;
  if (!config.moe_layers.includes(layer)) {
    planDense(plan, config, layout, `${at}.mlp`, gamma, 'h', shape);
    return;
  }
  // Everything that reads h as input comes before the two calls that add to it: the shared expert's down projection
  // and the combination of the routed experts.
  planExperts(plan, config, layout, `${at}.moe`, layer, gamma, shape);
  planDense(plan, config, layout, `${at}.share_expert`, gamma, 'h', shape);
  plan.enter('attention', layer);
  plan.call(
    moe_combine,
    { tokens: shape.tokens, K: config.hidden_size, topK: config.moe_top_k },
    { expert_weights: 'expert_weights', expert_out: 'expert_out', h: 'h' },
    `${at}.moe.combine`,
  );
}

/** silu(x Wgᵀ) ⊙ (x Wuᵀ), then Wd, added to `y`. */
function planDense(
  plan: PlanBuilder,
  config: Step3Config,
  layout: WeightLayout,
  at: string,
  gamma: string,
  y: string,
  shape: StepShape,
): void {
  const rows = {
    rows: shape.tokens,
    xRows: shape.tokens,
    source: { kind: 'all' } as const,
    tile: denseTile(shape.tokens, shape.deterministic),
    eps: config.rms_norm_eps,
  };
  const act = 'ffn_act';
  planLinear(plan, {
    ...rows,
    weights: matrixOf(layout, `${at}.gate_up_proj`),
    x: 'h',
    y: act,
    gamma,
    out: 'swiglu',
  });
  planLinear(plan, { ...rows, weights: matrixOf(layout, `${at}.down_proj`), x: act, y, out: 'add' });
}

/** Router, grouping, expert SwiGLU; leaves each choice's result in `expert_out` `[tokens * moe_top_k, hidden_size]`. */
function planExperts(
  plan: PlanBuilder,
  config: Step3Config,
  layout: WeightLayout,
  at: string,
  layer: number,
  gamma: string,
  shape: StepShape,
): void {
  const experts = config.moe_num_experts;
  const topK = config.moe_top_k;
  const pairs = shape.tokens * topK;
  const tile = expertTile(shape.tokens, topK, experts, shape.deterministic);
  const tiles = maxTiles(pairs, experts, tile);
  const gate = matrixOf(layout, `${at}.gate`);
  // The router and the sum of the experts' results run beside attention, where the residual stream is (paper 3.1).
  plan.enter('attention', layer);
  plan.call(
    moe_router,
    {
      format: gate.format,
      tokens: shape.tokens,
      K: config.hidden_size,
      experts,
      topK,
      renormalise: config.norm_expert_weight,
      eps: config.rms_norm_eps,
    },
    { w: shardName(gate.name, 0), x: 'h', gamma, expert_ids: 'expert_ids', expert_weights: 'expert_weights' },
    `${at}.gate`,
  );
  plan.enter('ffn', layer);
  plan.call(
    moe_group,
    { pairs, experts, tile, maxTiles: tiles },
    { expert_ids: 'expert_ids', pairs: 'expert_pairs', tiles: 'expert_tiles' },
    `${at}.group`,
  );
  const rows = {
    rows: pairs,
    sourceSlots: { tiles: 'expert_tiles', pairs: 'expert_pairs' },
    tile,
    eps: config.rms_norm_eps,
  };
  planLinear(plan, {
    ...rows,
    weights: matrixOf(layout, `${at}.gate_up_proj`),
    x: 'h',
    xRows: shape.tokens,
    y: 'expert_act',
    gamma,
    out: 'swiglu',
    source: { kind: 'grouped', experts, perX: topK, maxTiles: tiles },
  });
  planLinear(plan, {
    ...rows,
    weights: matrixOf(layout, `${at}.down_proj`),
    x: 'expert_act',
    xRows: pairs,
    y: 'expert_out',
    out: 'store',
    source: { kind: 'grouped', experts, perX: 1, maxTiles: tiles },
  });
}
