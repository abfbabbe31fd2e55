/** Attention block of a layer: q/k/v down projection, inter_norm, wq, RoPE and cache, MFA, o_proj. */
import type { Step3Config } from '../config/index.ts';
import { mfa_combine } from '../kernels/mfa_combine.ts';
import { type AttentionParams, mfa_decode } from '../kernels/mfa_decode.ts';
import { rope_cache } from '../kernels/rope_cache.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { qkvLayout, type WeightLayout } from '../weights/layout.ts';
import { denseTile, planLinear } from './linear.ts';
import type { PlanBuilder } from './plan.ts';
import { matrixOf, type StepShape } from './step.ts';

/** Positions per context slice when results must not depend on batch, chunking or pages. */
const DETERMINISTIC_SPLIT = 256;

/** Context slices that are enough to occupy a large GPU. */
const TARGET_WORKGROUPS = 512;

/** Most bytes of partial attention results; more tokens than fit are handled one range after the other. */
const PARTIAL_BYTES = 64 * 1024 * 1024;

/** Names of a layer's cache slots. */
export function cacheSlots(layer: number): { k: string; v: string } {
  return { k: `layers.${layer}.k_cache`, v: `layers.${layer}.v_cache` };
}

/** Adds the attention block of `layer`; reads and updates the residual stream `h` `[tokens, hidden_size]`. */
export function planAttention(
  plan: PlanBuilder,
  config: Step3Config,
  layout: WeightLayout,
  layer: number,
  shape: StepShape,
): void {
  const { tokens } = shape;
  const H = config.num_attention_heads;
  const d = config.head_dim;
  const D8 = padRow(d);
  const { keyAt, width } = qkvLayout(config);
  const at = `layers.${layer}`;
  const cache = cacheSlots(layer);
  const source = { kind: 'all' } as const;
  const tile = denseTile(tokens, shape.deterministic);
  const eps = config.rms_norm_eps;
  const rows = { rows: tokens, xRows: tokens, source, tile, eps };

  planLinear(plan, {
    ...rows,
    weights: matrixOf(layout, `${at}.qkv_proj`),
    x: 'h',
    y: 'qkv',
    gamma: `${at}.input_layernorm`,
    out: 'store',
  });
  planLinear(plan, {
    ...rows,
    weights: matrixOf(layout, `${at}.wq`),
    x: 'qkv',
    xStride: width,
    y: 'q',
    gamma: `${at}.inter_norm`,
    out: 'store',
  });
  plan.call(
    rope_cache,
    {
      tokens,
      heads: H,
      D: d,
      theta: config.rope_theta,
      qkvStride: width,
      kAt: keyAt,
      kv: shape.kv,
      sequences: shape.sequences,
      maxPages: shape.maxPages,
      pages: shape.pages,
    },
    {
      places: shape.placesSlot,
      page_table: 'page_table',
      frequencies: 'rope_frequencies',
      q: 'q',
      qkv: 'qkv',
      q_rope: 'q_rope',
      k_cache: cache.k,
      v_cache: cache.v,
    },
    `${at}.rope`,
  );
  planCore(plan, config, shape, at, cache);
  planLinear(plan, {
    ...rows,
    weights: matrixOf(layout, `${at}.o_proj`),
    x: 'attn',
    xStride: H * D8,
    y: 'h',
    out: 'add',
  });
}

/** The attention core over ranges of tokens small enough for the partial results. */
function planCore(
  plan: PlanBuilder,
  config: Step3Config,
  shape: StepShape,
  at: string,
  cache: { k: string; v: string },
): void {
  const H = config.num_attention_heads;
  const splitLen = splitLength(shape, H);
  const splits = ceilDiv(shape.context, splitLen);
  const perToken = splits * H * (padRow(config.head_dim) + 2) * 4;
  const budget = Math.min(PARTIAL_BYTES, shape.maxBindingBytes);
  const rangeTokens = Math.max(1, Math.min(shape.tokens, Math.floor(budget / perToken)));
  for (let begin = 0; begin < shape.tokens; begin += rangeTokens) {
    const params: AttentionParams = {
      allTokens: shape.tokens,
      tokenBegin: begin,
      tokens: Math.min(rangeTokens, shape.tokens - begin),
      heads: H,
      D: config.head_dim,
      kv: shape.kv,
      sequences: shape.sequences,
      maxPages: shape.maxPages,
      pages: shape.pages,
      splits,
      splitLen,
      context: shape.context,
    };
    plan.call(
      mfa_decode,
      params,
      {
        places: shape.placesSlot,
        page_table: 'page_table',
        q_rope: 'q_rope',
        k_cache: cache.k,
        v_cache: cache.v,
        part_o: 'part_o',
        part_ml: 'part_ml',
      },
      `${at}.mfa_decode`,
    );
    plan.call(
      mfa_combine,
      params,
      { places: shape.placesSlot, part_o: 'part_o', part_ml: 'part_ml', attn: 'attn' },
      `${at}.mfa_combine`,
    );
  }
}

/** Positions per slice: short enough to fill the GPU with few tokens, long enough to keep partial results few. */
function splitLength(shape: StepShape, heads: number): number {
  if (shape.deterministic) return DETERMINISTIC_SPLIT;
  const workgroupsPerSplit = shape.tokens * ceilDiv(heads, 64);
  const length = ceilDiv(shape.context * workgroupsPerSplit, TARGET_WORKGROUPS);
  return Math.min(4096, Math.max(64, ceilDiv(length, 32) * 32));
}
