/** Attention-FFN disaggregation: what a deployment's stages take at full peaks, and the deployment that a target needs. */
import { InputError } from '../errors.ts';
import { type Convention, storedBytes } from './attention.ts';
import { CARDS_PER_SERVER, type Hardware, memoryBytes, peakFlops, serverNetwork } from './hardware.ts';
import { type CostModel, layerCount, sum } from './models.ts';
import { modelSparsity, moeBatch, STAGES, stageSeconds, wireBytes } from './sparsity.ts';
import { parameters, type TokenCost, tokenCost } from './token.ts';

/** Servers of eight cards each, and what they work on at once. */
export interface Deployment {
  readonly attention_instances: number;
  readonly ffn_instances: number;
  /** Tokens of a micro-batch, from all attention instances; three are in flight. */
  readonly micro_batch: number;
  readonly context: number;
}

/** How a deployment stores and counts. */
export interface Precision {
  /** Bytes of a weight; 1 unless given. */
  readonly weight_bytes?: number;
  readonly convention?: Convention;
}

/** Seconds of one micro-batch in one layer, every layer taken as the average one. */
export interface StageTimes {
  readonly attention: number;
  readonly network: number;
  readonly ffn: number;
}

/**
 * The stages of a deployment at full peaks.
 *
 * Attention: a card reads its caches (or computes its cores), then projects, reading the weights once. Network: every
 * FFN instance receives the whole micro-batch and answers it; every attention instance sends its share to, and receives
 * it from, all of them; the busier side counts. FFN: reads its weights, or computes, whichever takes longer.
 */
export function stageTimes(
  model: CostModel,
  attention: Hardware,
  ffn: Hardware,
  deployment: Deployment,
  precision: Precision = {},
): StageTimes {
  const { attention_instances, ffn_instances, micro_batch, context } = deployment;
  const layers = layerCount(model);
  const token = tokenCost(model, context, precision.convention);
  const weightBytes = precision.weight_bytes ?? 1;
  const per_instance = micro_batch / attention_instances;
  const card = attentionCard(token, attention, weightBytes);
  const cards = ffn_instances * CARDS_PER_SERVER;
  const read = (weightBytes * parameters(model).ffn) / (cards * ffn.bytes_per_second);
  const computed = (micro_batch * token.ffn_flops) / (cards * peakFlops(ffn));
  const wire = wireBytes(model);
  return {
    attention: card.seconds(per_instance / CARDS_PER_SERVER) / layers,
    network: Math.max(
      (wire * micro_batch) / serverNetwork(ffn),
      (wire * per_instance * ffn_instances) / serverNetwork(attention),
    ),
    ffn: Math.max(read, computed) / layers,
  };
}

/** Seconds per output token of a deployment at full peaks: three stages, each as long as the longest, in every layer. */
export function deploymentTpot(model: CostModel, times: StageTimes): number {
  return STAGES * layerCount(model) * Math.max(times.attention, times.network, times.ffn);
}

/** Decoding at a given time per token, on servers of eight cards. */
export interface AfdSizing {
  /** Seconds of one stage in one layer. */
  readonly stage_seconds: number;
  /** Requests per attention card and micro-batch, and what limits them. */
  readonly attention_batch: number;
  readonly attention_bound: 'time' | 'memory' | 'network';
  /** Tokens of a micro-batch, from all attention instances, and what limits them. */
  readonly ffn_batch: number;
  readonly ffn_bound: 'compute' | 'network' | 'batch';
  /** The batch that would make the MoE layers compute-bound. */
  readonly compute_bound_batch: number;
  readonly attention_instances: number;
  readonly ffn_instances: number;
  /** Bytes of weights and caches on an attention card, of weights on an FFN card. */
  readonly attention_card_bytes: number;
  readonly ffn_card_bytes: number;
  /** Bytes that a token sends over the network, there and back, in all layers, by one FFN instance. */
  readonly wire_bytes_per_token: number;
  /** Tokens per card and second. */
  readonly tokens_per_gpu_second: number;
}

/** What a system is sized for. */
export interface AfdTarget extends Precision {
  readonly context: number;
  /** Seconds per output token. */
  readonly tpot: number;
  /** Tokens of a micro-batch, if not as many as fit. */
  readonly batch?: number;
}

/**
 * Sizes a system at full peaks: the fewest FFN instances whose memory holds the weights and that read them within a
 * stage; the largest micro-batch that these compute and their network carries; then attention instances for it, each
 * with the requests that its time, memory (weights, and caches of all three micro-batches) and network allow.
 *
 * @throws InputError when not even one request or token fits, or hardware lacks a figure that this needs
 */
export function sizeAfd(model: CostModel, attention: Hardware, ffn: Hardware, target: AfdTarget): AfdSizing {
  const { context, tpot, batch, convention, weight_bytes = 1 } = target;
  const stage_seconds = stageSeconds(model, tpot);
  const seconds = stage_seconds * layerCount(model);
  const token = tokenCost(model, context, convention);
  const ffnBytes = weight_bytes * parameters(model).ffn;

  const perInstance = CARDS_PER_SERVER * Math.min(memoryBytes(ffn), ffn.bytes_per_second * seconds);
  const ffn_instances = Math.ceil(ffnBytes / perInstance);
  const [ffn_batch, ffn_bound] = least([
    [(ffn_instances * CARDS_PER_SERVER * peakFlops(ffn) * seconds) / token.ffn_flops, 'compute'],
    [(serverNetwork(ffn) * stage_seconds) / wireBytes(model), 'network'],
    [batch ?? Number.POSITIVE_INFINITY, 'batch'],
  ]);
  if (ffn_batch < 1) {
    throw new InputError('TPOT', `one in which ${ffn.name} serves a token through the FFN`, tpot);
  }

  const { attention: projections, vocabulary } = parameters(model);
  const weights = weight_bytes * (projections + vocabulary);
  const cache = sum(model.attention, (each) => storedBytes(each, context));
  const shared = (serverNetwork(attention) * stage_seconds) / (wireBytes(model) * ffn_instances);
  const [attention_batch, attention_bound] = least([
    [attentionCard(token, attention, weight_bytes).batch(seconds), 'time'],
    [(memoryBytes(attention) - weights) / (STAGES * cache), 'memory'],
    [shared / CARDS_PER_SERVER, 'network'],
  ]);
  if (attention_batch < 1) {
    const expected = `one that ${attention.name} attends within a TPOT of ${tpot} s (limit: ${attention_bound})`;
    throw new InputError('context', expected, context);
  }
  const attention_instances = Math.ceil(ffn_batch / attention_batch / CARDS_PER_SERVER);
  const held = STAGES * Math.ceil(ffn_batch / attention_instances / CARDS_PER_SERVER);
  return {
    stage_seconds,
    attention_batch,
    attention_bound,
    ffn_batch,
    ffn_bound,
    compute_bound_batch: moeBatch(ffn, modelSparsity(model), weight_bytes),
    attention_instances,
    ffn_instances,
    attention_card_bytes: weights + held * cache,
    ffn_card_bytes: ffnBytes / (ffn_instances * CARDS_PER_SERVER),
    wire_bytes_per_token: layerCount(model) * wireBytes(model),
    tokens_per_gpu_second: tokensPerGpuSecond(ffn_batch, attention_instances + ffn_instances, tpot),
  };
}

/** Tokens per card and second of a system with three micro-batches in flight (Table 8). */
export function tokensPerGpuSecond(microBatch: number, instances: number, tpot: number): number {
  return (STAGES * microBatch) / (instances * CARDS_PER_SERVER * tpot);
}

/** The smallest whole bound and its name. */
function least<const T extends string>(bounds: readonly (readonly [number, T])[]): readonly [number, T] {
  const [bound, name] = bounds.reduce((a, b) => (b[0] < a[0] ? b : a));
  return [Math.floor(bound), name];
}

/** A card's attention in all layers: seconds for a batch, and the batch for a time. */
function attentionCard(token: TokenCost, card: Hardware, weightBytes: number) {
  const flops = peakFlops(card);
  const core = Math.max(token.kv_bytes / card.bytes_per_second, token.attention_flops / flops);
  const linear = token.linear_flops / flops;
  // The projections: at least one reading of their weights, two FLOPs each.
  const reading = (weightBytes * token.linear_flops) / 2 / card.bytes_per_second;
  return {
    seconds: (batch: number) => batch * core + Math.max(reading, batch * linear),
    batch: (seconds: number) => Math.min((seconds - reading) / core, seconds / (core + linear)),
  };
}
