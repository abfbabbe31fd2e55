/** Attention block of a layer: q/k/v down projection, inter_norm, wq, RoPE and cache, MFA, o_proj. */
import type { Step3Config } from '../config/index.ts';
import { mfa_combine } from '../kernels/mfa_combine.ts';
import { type AttentionParams, mfa_decode } from '../kernels/mfa_decode.ts';
import { fitsMatrixUnits, mfa_matrix } from '../kernels/mfa_matrix.ts';
import { rope_cache } from '../kernels/rope_cache.ts';
import { ceilDiv, padRow } from '../tensor.ts';
import { pairsHeads, qkvLayout, type WeightLayout } from '../weights/layout.ts';
import { denseTiling, planLinear } from './linear.ts';
import type { PlanBuilder } from './plan.ts';
import { matrixOf, type StepShape } from './step.ts';

/** Positions per context slice when results must not depend on batch, chunking or pages. */
const DETERMINISTIC_SPLIT = 256;

/** Context slices that are enough to occupy a large GPU, with the kernel that fetches ahead and the one that does not. */
const TARGET_WORKGROUPS = { matrix: 128, plain: 512 } as const;

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
  const eps = config.rms_norm_eps;
  const rows = (matrix: string) => {
    const weights = matrixOf(layout, `${at}.${matrix}`);
    const tiling = denseTiling(tokens, shape, weights);
    return { weights, rows: tokens, xRows: tokens, source, tiling, eps };
  };

  const qkv = { ...rows('qkv_proj'), x: 'h', gamma: `${at}.input_layernorm` };
  const wq = { ...rows('wq'), gamma: `${at}.inter_norm` };
  const written = { k_cache: cache.k, v_cache: cache.v };
  if (pairsHeads(d)) {
    const rope = { D: d, kAt: keyAt, kv: shape.kv, pages: shape.pages };
    const outSlots = { turns: 'turns', cache_rows: 'cache_rows', ...written };
    planLinear(plan, { ...qkv, y: 'q_latent', out: 'qkv', rope, outSlots });
    const turns = { turns: 'turns' };
    planLinear(plan, { ...wq, x: 'q_latent', y: 'q_rope', out: 'rope_q', rope, outSlots: turns });
  } else {
    planLinear(plan, { ...qkv, y: 'qkv', out: 'store' });
    planLinear(plan, { ...wq, x: 'qkv', xStride: width, y: 'q', out: 'store' });
    plan.call(
      rope_cache,
      { tokens, heads: H, D: d, qkvStride: width, kAt: keyAt, kv: shape.kv, pages: shape.pages },
      { cache_rows: 'cache_rows', turns: 'turns', q: 'q', qkv: 'qkv', q_rope: 'q_rope', ...written },
      `${at}.rope`,
    );
  }
  planCore(plan, config, shape, at, cache);
  planLinear(plan, {
    ...rows('o_proj'),
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
  const matrix = shape.matrixUnits && fitsMatrixUnits({ D: config.head_dim, kv: shape.kv });
  const target = matrix ? TARGET_WORKGROUPS.matrix : TARGET_WORKGROUPS.plain;
  const splitLen = splitLength(shape, H, target);
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
      matrix ? mfa_matrix : mfa_decode,
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

/**
 * Positions per slice, for about `target` workgroups in all: short enough to fill the GPU with few tokens, long enough to
 * keep partial results few.
 */
function splitLength(shape: StepShape, heads: number, target: number): number {
  if (shape.deterministic) return DETERMINISTIC_SPLIT;
  const workgroupsPerSplit = shape.tokens * ceilDiv(heads, 64);
  const length = ceilDiv(shape.context * workgroupsPerSplit, target);
  return Math.min(4096, Math.max(64, ceilDiv(length, 32) * 32));
}
