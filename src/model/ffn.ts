/** FFN block of a layer: dense SwiGLU, or a mixture of experts with a shared expert. */
import { type FfnFacts, layerFacts, type ModelConfig } from '../config/index.ts';
import { maxTiles } from '../kernels/linear.ts';
import { matvec } from '../kernels/matvec.ts';
import { moe_combine } from '../kernels/moe_combine.ts';
import { moe_down } from '../kernels/moe_down.ts';
import { moe_group } from '../kernels/moe_group.ts';
import { moe_route } from '../kernels/moe_route.ts';
import type { Routing } from '../kernels/routing.ts';
import { shardName, type WeightLayout, type WeightMatrix } from '../weights/layout.ts';
import {
  denseTiling,
  expertTiling,
  type LinearCall,
  leavesHalf,
  planLinear,
  routerTiling,
  type Tiling,
  typedSlot,
} from './linear.ts';
import type { PlanBuilder } from './plan.ts';
import { type ShardGroup, shardGroups, withShared } from './shards.ts';
import { matrixOf, type StepShape } from './step.ts';

/** Tokens up to which every (token, choice) pair reads its expert for itself, whatever the experts. */
const TOKENWISE_TOKENS = 4;

/** Most experts among which every workgroup chooses again instead of waiting for a dispatch that does it once. */
const TOKENWISE_EXPERTS = 512;

/** Weights of a shared expert that several tokens may read each for itself, as they come from a cache. */
const SHARED_WEIGHTS = 2 ** 22;

/** Every (token, choice) pair for itself. */
const ROUTED_TILING: Tiling = { kernel: matvec, tile: 1 };

/** What the parts of one FFN share. */
interface FfnCall {
  readonly plan: PlanBuilder;
  readonly config: ModelConfig;
  readonly layout: WeightLayout;
  readonly shape: StepShape;
  /** Gamma of the norm before the block. */
  readonly gamma: string;
}

/** A mixture of experts. */
type MoeFacts = Extract<FfnFacts, { kind: 'moe' }>;

/** Adds the FFN of `layer`; reads and updates the residual stream `h` `[tokens, hidden_size]`. */
export function planFfn(
  plan: PlanBuilder,
  config: ModelConfig,
  layout: WeightLayout,
  layer: number,
  shape: StepShape,
): void {
  const at = `layers.${layer}`;
  const call: FfnCall = { plan, config, layout, shape, gamma: `${at}.post_attention_layernorm` };
  const facts = layerFacts(config, layer).ffn;
  if (facts.kind === 'dense') {
    planMlp(call, `${at}.mlp`, facts.limit);
    return;
  }
  const { routing } = facts;
  // The router and the sum of the experts' results run beside attention, where the residual stream is (paper 3.1).
  plan.enter('attention', layer);
  planRouter(call, `${at}.moe`);
  plan.enter('ffn', layer);
  if (isTokenwise(call, routing)) {
    planTokenwise(call, at, facts);
    return;
  }
  // Everything that reads h as input comes before the two calls that add to it: the shared expert's down projection
  // and the combination of the routed experts.
  const tiling = planGrouped(call, `${at}.moe`, facts);
  planMlp(call, `${at}.share_expert`, facts.shareLimit, tiling);
  plan.enter('attention', layer);
  plan.call(
    moe_combine,
    { tokens: shape.tokens, K: config.hidden_size, topK: routing.topK },
    { expert_weights: 'expert_weights', expert_out: 'expert_out', h: 'h' },
    `${at}.moe.combine`,
  );
}

/** A layer that handles every token. */
function denseRows({ config, layout, shape }: FfnCall, matrix: string) {
  const weights = matrixOf(layout, matrix);
  return {
    weights,
    rows: shape.tokens,
    xRows: shape.tokens,
    source: { kind: 'all' },
    tiling: denseTiling(shape.tokens, shape, weights),
    eps: config.rms_norm_eps,
  } as const;
}

/** A dense FFN or shared expert, added to `h`. `before`: how the call just before read the same norm of h. */
function planMlp(call: FfnCall, at: string, limit: number, before?: Tiling): void {
  const gateUp = denseRows(call, `${at}.gate_up_proj`);
  const down = denseRows(call, `${at}.down_proj`);
  const half = leavesHalf(gateUp.weights, gateUp.tiling, down.tiling);
  const normed = before?.kernel === gateUp.tiling.kernel;
  planGateUp(call, { ...gateUp, normed, half, limit });
  planLinear(call.plan, { ...down, x: typedSlot('ffn_act', half), xHalf: half, y: 'h', out: 'add' });
}

/** silu(x Wgᵀ) ⊙ (x Wuᵀ) of a dense FFN or shared expert. */
function planGateUp(
  { plan, gamma }: FfnCall,
  rows: ReturnType<typeof denseRows> & Pick<LinearCall, 'normed' | 'half' | 'limit'>,
): void {
  const y = typedSlot('ffn_act', rows.half === true);
  planLinear(plan, { ...rows, x: 'h', y, gamma, out: 'swiglu' });
}

/** Router logits `[tokens, moe_num_experts]`. */
function planRouter(call: FfnCall, at: string): void {
  planLinear(call.plan, {
    ...denseRows(call, `${at}.gate`),
    tiling: routerTiling(call.shape.tokens, call.shape, matrixOf(call.layout, `${at}.gate`).rows),
    x: 'h',
    y: 'router_logits',
    gamma: call.gamma,
    out: 'store',
  });
}

/**
 * Whether tokens are so few that reading an expert once per token that chose it costs little, which saves the dispatches
 * that route, group and combine. Results would then depend on the batch in their last bits.
 */
function isTokenwise({ shape }: FfnCall, { experts, topK }: Routing): boolean {
  const { tokens } = shape;
  return (
    !shape.deterministic &&
    (tokens <= TOKENWISE_TOKENS || tokens * topK <= experts / 4) &&
    experts <= TOKENWISE_EXPERTS
  );
}

/** Whether one call can compute the down projections of the chosen experts and of the shared one. */
function sharesDown(share: WeightMatrix, down: WeightMatrix): boolean {
  const [{ format, group }] = down.shards;
  return share.shards.length === 1 && share.shards[0].format === format && share.shards[0].group === group;
}

/** Slots that the choice of experts reads. */
function routingSlots(at: string, routing: Routing): Record<string, string> {
  const router_logits = 'router_logits';
  return routing.scoring === 'sigmoid'
    ? { router_logits, router_bias: `${at}.router_bias` }
    : { router_logits };
}

/**
 * Buffers of the gate and up projections of all experts and the shared one, where one call can compute both: it takes the
 * shared one for an expert that every token chooses.
 */
function gateUpTogether(
  { plan, layout, shape }: FfnCall,
  at: string,
  { limit, shareLimit }: MoeFacts,
  others: number,
): ShardGroup | undefined {
  const shared = matrixOf(layout, `${at}.share_expert.gate_up_proj`);
  if (limit !== shareLimit || (shape.tokens > 1 && shared.rows * shared.cols > SHARED_WEIGHTS))
    return undefined;
  return withShared(matrixOf(layout, `${at}.moe.gate_up_proj`), shared, plan.caps.maxStorageBuffers - others);
}

/**
 * Shared and routed experts of few tokens: the activations, then all down projections and the residual in one, or in two calls
 * where the shared expert has a format of its own.
 */
function planTokenwise(call: FfnCall, at: string, facts: MoeFacts): void {
  const { plan, config, layout, shape } = call;
  const { routing, limit, shareLimit } = facts;
  const chosen = routingSlots(`${at}.moe`, routing);
  const slots = { x: 'h', y: 'expert_act', gamma: call.gamma };
  const down = matrixOf(layout, `${at}.moe.down_proj`);
  const share = matrixOf(layout, `${at}.share_expert.down_proj`);
  const downTogether = sharesDown(share, down);
  const bound = Object.keys({ ...slots, ...chosen }).length;
  const together = downTogether ? gateUpTogether(call, at, facts, bound) : undefined;
  const shared = together !== undefined;
  const own = matrixOf(layout, `${at}.share_expert.gate_up_proj`);
  planLinear(plan, {
    ...slots,
    rows: shape.tokens * (routing.topK + (shared ? 1 : 0)),
    xRows: shape.tokens,
    weights: matrixOf(layout, `${at}.moe.gate_up_proj`),
    ...(together === undefined ? {} : { groups: [together] }),
    eps: config.rms_norm_eps,
    out: 'swiglu',
    limit,
    source: { kind: 'routed', routing, ...(shared ? { sharedRows: own.rows } : {}) },
    sourceSlots: chosen,
    tiling: ROUTED_TILING,
  });
  if (!downTogether) planMlp(call, `${at}.share_expert`, shareLimit);
  else if (!shared)
    planGateUp(call, { ...denseRows(call, `${at}.share_expert.gate_up_proj`), limit: shareLimit });
  const others = {
    x: 'expert_act',
    share_x: shared || !downTogether ? 'expert_act' : 'ffn_act',
    ...chosen,
    y: 'h',
  };
  const most = plan.caps.maxStorageBuffers - Object.keys(others).length - 1; // share_w
  for (const { shard, row, buffers, slots } of shardGroups(down, most)) {
    plan.call(
      moe_down,
      {
        ...row,
        tokens: shape.tokens,
        routing,
        K: down.cols,
        shareK: downTogether ? share.cols : 0,
        N: down.rows,
        shard,
        ...(buffers === undefined ? {} : { buffers }),
        // The buffers of the first expert hold each of its rows once.
        withShare: downTogether && shard.expertBegin === 0,
        ...(shared ? { shareInX: true } : {}),
      },
      { ...slots, ...others, share_w: downTogether ? shardName(share.name, 0) : slots.w },
      down.name,
    );
  }
}

/**
 * Grouping and expert SwiGLU; leaves each choice's result in `expert_out` `[tokens * moe_top_k, hidden_size]`.
 * Returns how the experts' gate and up projections are computed.
 */
function planGrouped(call: FfnCall, at: string, { routing, limit }: MoeFacts): Tiling {
  const { plan, config, layout, shape } = call;
  const { experts, topK } = routing;
  const pairs = shape.tokens * topK;
  const weights = [matrixOf(layout, `${at}.gate_up_proj`), matrixOf(layout, `${at}.down_proj`)];
  const tiling = expertTiling(shape.tokens, topK, experts, shape, weights);
  const half = leavesHalf(weights[0], tiling, tiling);
  const act = typedSlot('expert_act', half);
  const { tile } = tiling;
  const tiles = maxTiles(pairs, experts, tile);
  plan.call(
    moe_route,
    { ...routing, tokens: shape.tokens },
    { ...routingSlots(at, routing), expert_ids: 'expert_ids', expert_weights: 'expert_weights' },
    `${at}.route`,
  );
  plan.call(
    moe_group,
    { tokens: shape.tokens, experts, topK, tile, maxTiles: tiles },
    { expert_ids: 'expert_ids', pairs: 'expert_pairs', tiles: 'expert_tiles' },
    `${at}.group`,
  );
  const rows = {
    rows: pairs,
    sourceSlots: { tiles: 'expert_tiles', pairs: 'expert_pairs' },
    tiling,
    eps: config.rms_norm_eps,
  };
  planLinear(plan, {
    ...rows,
    weights: weights[0],
    x: 'h',
    xRows: shape.tokens,
    y: act,
    half,
    gamma: call.gamma,
    out: 'swiglu',
    limit,
    source: { kind: 'grouped', experts, perX: topK, maxTiles: tiles },
  });
  planLinear(plan, {
    ...rows,
    weights: weights[1],
    x: act,
    xHalf: half,
    xRows: pairs,
    y: 'expert_out',
    out: 'store',
    source: { kind: 'grouped', experts, perX: 1, maxTiles: tiles },
  });
  return tiling;
}
