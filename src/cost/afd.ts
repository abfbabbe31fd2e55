/** How many attention and FFN instances attention-FFN disaggregation needs for a context and a time per token (§3, §7). */
import { InputError } from '../errors.ts';
import type { Convention } from './attention.ts';
import { CARDS_PER_SERVER, type Hardware, peakFlops } from './hardware.ts';
import { type CostModel, layerCount } from './models.ts';
import { attentionSeconds } from './price.ts';
import { modelSparsity, moeBatch, networkBatch, STAGES, stageSeconds, wireBytes } from './sparsity.ts';
import { parameters, type TokenCost, tokenCost } from './token.ts';

/** Decoding at a given time per token, on servers of eight cards. */
export interface AfdSizing {
  /** Seconds of one stage in one layer. */
  readonly stage_seconds: number;
  /** Requests per attention card and micro-batch. */
  readonly attention_batch: number;
  /** Tokens of a micro-batch, from all attention instances. */
  readonly ffn_batch: number;
  /** The batch that would make the MoE layers compute-bound. */
  readonly compute_bound_batch: number;
  readonly attention_instances: number;
  readonly ffn_instances: number;
  /** Bytes that a token sends over the network, there and back, in all layers. */
  readonly wire_bytes_per_token: number;
  /** Tokens per card and second. */
  readonly tokens_per_gpu_second: number;
}

/** What a system is sized for. */
export interface AfdTarget {
  readonly context: number;
  /** Seconds per output token. */
  readonly tpot: number;
  /** Bytes of a weight; 1 unless given. */
  readonly weight_bytes?: number;
  readonly convention?: Convention;
}

/**
 * Sizes a system at full peaks, every layer taken as the average one; memory is taken to suffice.
 *
 * Attention: a card must read its caches (or compute its cores) and do its projections within a stage. FFN: the fewest
 * instances that read their weights within a stage; then the largest micro-batch that they compute and that the network
 * carries to each of them, as hidden states go to all FFN instances.
 *
 * @throws InputError when one request already takes too long
 */
export function sizeAfd(
  model: CostModel,
  attention: Hardware,
  ffn: Hardware,
  { context, tpot, weight_bytes = 1, convention }: AfdTarget,
): AfdSizing {
  const layers = layerCount(model);
  const stage_seconds = stageSeconds(model, tpot);
  const token = tokenCost(model, context, convention);
  const attention_batch = Math.floor(cardBatch(token, attention, stage_seconds * layers, weight_bytes));
  if (attention_batch < 1) {
    throw new InputError('context', `one that ${attention.name} attends within a TPOT of ${tpot} s`, context);
  }
  const server = {
    flops: CARDS_PER_SERVER * peakFlops(ffn),
    bytes: CARDS_PER_SERVER * ffn.bytes_per_second,
  };
  const reading = (weight_bytes * parameters(model).ffn) / server.bytes;
  const ffn_instances = Math.ceil(reading / (stage_seconds * layers));
  const computed = (ffn_instances * server.flops * stage_seconds * layers) / token.ffn_flops;
  const ffn_batch = Math.floor(Math.min(computed, networkBatch(model, ffn, tpot)));
  if (ffn_batch < 1) {
    throw new InputError('TPOT', `one in which the network of ${ffn.name} carries a token`, tpot);
  }
  const attention_instances = Math.ceil(ffn_batch / attention_batch / CARDS_PER_SERVER);
  return {
    stage_seconds,
    attention_batch,
    ffn_batch,
    compute_bound_batch: moeBatch(ffn, modelSparsity(model), weight_bytes),
    attention_instances,
    ffn_instances,
    wire_bytes_per_token: layers * wireBytes(model),
    tokens_per_gpu_second: tokensPerGpuSecond(ffn_batch, attention_instances + ffn_instances, tpot),
  };
}

/** Tokens per card and second of a system with three micro-batches in flight (Table 8). */
export function tokensPerGpuSecond(microBatch: number, instances: number, tpot: number): number {
  return (STAGES * microBatch) / (instances * CARDS_PER_SERVER * tpot);
}

/** Requests that a card attends in all layers within `seconds`. */
function cardBatch(token: TokenCost, card: Hardware, seconds: number, weightBytes: number): number {
  const flops = peakFlops(card);
  const core = Math.max(token.kv_bytes / card.bytes_per_second, token.attention_flops / flops);
  // The projections: at least one reading of their weights, two FLOPs each.
  const reading = (weightBytes * token.linear_flops) / 2 / card.bytes_per_second;
  return Math.min((seconds - reading) / core, seconds / attentionSeconds(token, card));
}
