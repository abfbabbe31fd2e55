/** What a model costs on given hardware, as one object. */
import { InputError } from '../errors.ts';
import type { KvFormat } from '../kernels/paged.ts';
import { type AfdSizing, sizeAfd } from './afd.ts';
import { type Convention, storedBytes } from './attention.ts';
import { type Hardware, roofline, withoutFp8 } from './hardware.ts';
import { type CostModel, layerCount, sum, withKvBytes, withKvFormat } from './models.ts';
import {
  attentionSeconds,
  bestPairing,
  ffnSeconds,
  type Pairing,
  pairing,
  type UnitCosts,
  unitCosts,
} from './price.ts';
import { denseBatch, minimumSparsity, modelSparsity, moeBatch, wireBytes } from './sparsity.ts';
import { type Parameters, parameters, type TokenCost, tokenCost } from './token.ts';

/** Tokens of an FFN batch in the report's main deployment (Table 8, 2A2F). */
export const BATCH = 2048;

/** What is asked. */
export interface CostOptions {
  readonly context: number;
  /** Tokens of an FFN batch; {@link BATCH} unless given, and in a sizing as many as fit. */
  readonly batch: number | undefined;
  /** Whether attention and FFN may run on different hardware. */
  readonly afd: boolean;
  /** Seconds per output token. */
  readonly tpot: number;
  /** Bits of a stored key or value element; the model's own unless given. */
  readonly kv_bits: number | undefined;
  /** Or their format in this engine's cache, which counts scales too. */
  readonly kv: KvFormat | undefined;
  readonly weight_bits: 4 | 8 | 16;
  readonly convention: Convention;
}

/** A price per million tokens; the parts are those of attention and FFN. */
interface Price {
  readonly attention: number;
  readonly ffn: number;
  readonly total: number;
}

/** One kind of hardware; absent is what its price or network would be needed for. */
export interface CardReport {
  readonly hardware: string;
  readonly source: string;
  /** Card seconds per million tokens. */
  readonly attention_seconds: number;
  readonly ffn_seconds: number;
  /** What bounds the attention core. */
  readonly core_bound: 'memory' | 'compute';
  readonly dollars?: Price;
  /** Dollars for a FLOP and for a byte. */
  readonly unit_costs?: UnitCosts;
  /** Cards whose memory holds the model's weights, and requests whose keys and values fit into one more. */
  readonly cards_for_weights?: number;
  readonly requests_per_card?: number;
  readonly dense_batch: number;
  readonly moe_batch: number;
  /** Share of the FFN's peak that the batch reaches by that bound. */
  readonly ffn_peak_share: number;
  readonly minimum_sparsity?: number;
}

/** The cheapest hardware for each part. */
export interface AfdReport {
  readonly attention: string;
  readonly ffn: string;
  readonly dollars: Price;
  /** How much of each; or, where the hardware's figures do not suffice for that, those that are missing. */
  readonly sizing?: AfdSizing;
  readonly unsized?: readonly string[];
}

/** All of it. */
export interface CostReport {
  readonly model: string;
  readonly context: number;
  readonly batch: number;
  readonly convention: Convention;
  readonly parameters: Parameters;
  readonly sparsity: number;
  readonly token: TokenCost;
  readonly weight_bytes: number;
  /** Bytes that the keys and values (and states) of one request take up. */
  readonly stored_bytes: number;
  /** Bytes that a token sends between attention and FFN, there and back, in all layers. */
  readonly wire_bytes: number;
  readonly cards: readonly CardReport[];
  readonly afd?: AfdReport;
}

/**
 * The cost of decoding one token of a model.
 *
 * @throws InputError for contexts, precisions and models that make no sense, missing peaks, and, for the best pairing,
 *   missing prices
 */
export function costReport(model: CostModel, cards: readonly Hardware[], options: CostOptions): CostReport {
  const { context, batch = BATCH, convention, weight_bits } = options;
  const stored = withStorage(model, options);
  const token = tokenCost(stored, context, convention);
  const used = weight_bits === 16 ? cards.map(withoutFp8) : cards;
  return {
    model: model.name,
    context,
    batch,
    convention,
    parameters: parameters(model),
    sparsity: modelSparsity(model),
    token,
    weight_bytes: (weight_bits / 8) * parameters(model).total,
    stored_bytes: storedPerRequest(stored, context),
    wire_bytes: layerCount(model) * wireBytes(model),
    cards: used.map((card) => cardReport(stored, token, card, options)),
    ...(options.afd ? { afd: afdReport(stored, token, used, options) } : {}),
  };
}

function withStorage(model: CostModel, { kv, kv_bits }: CostOptions): CostModel {
  if (kv !== undefined && kv_bits !== undefined) throw new InputError('kv', 'one of kv and kv_bits', 'both');
  if (kv !== undefined) return withKvFormat(model, kv);
  return kv_bits === undefined ? model : withKvBytes(model, kv_bits / 8);
}

function cardReport(model: CostModel, token: TokenCost, card: Hardware, options: CostOptions): CardReport {
  const weightBytes = options.weight_bits / 8;
  const moe_batch = moeBatch(card, modelSparsity(model), weightBytes);
  return {
    hardware: card.name,
    source: card.source,
    attention_seconds: 1e6 * attentionSeconds(token, card),
    ffn_seconds: 1e6 * ffnSeconds(token, card),
    core_bound: token.arithmetic_intensity > roofline(card) ? 'compute' : 'memory',
    ...(card.dollars_per_hour === undefined
      ? {}
      : { dollars: price(pairing(token, card, card)), unit_costs: unitCosts(card) }),
    ...(card.memory_bytes === undefined
      ? {}
      : {
          cards_for_weights: Math.ceil((weightBytes * parameters(model).total) / card.memory_bytes),
          requests_per_card: Math.floor(card.memory_bytes / storedPerRequest(model, options.context)),
        }),
    dense_batch: denseBatch(card, weightBytes),
    moe_batch,
    ffn_peak_share: Math.min(1, (options.batch ?? BATCH) / moe_batch),
    ...(card.server_network === undefined || options.weight_bits !== 8
      ? {}
      : { minimum_sparsity: minimumSparsity(model, card, options.tpot) }),
  };
}

function afdReport(
  model: CostModel,
  token: TokenCost,
  cards: readonly Hardware[],
  options: CostOptions,
): AfdReport {
  const best = bestPairing(token, cards);
  const { context, tpot, batch, weight_bits, convention } = options;
  const target = {
    context,
    tpot,
    weight_bytes: weight_bits / 8,
    convention,
    ...(batch === undefined ? {} : { batch }),
  };
  const unsized = [best.attention, best.ffn].flatMap((card) =>
    (['server_network', 'memory_bytes'] as const)
      .filter((field) => card[field] === undefined)
      .map((field) => `${card.name} ${field}`),
  );
  return {
    attention: best.attention.name,
    ffn: best.ffn.name,
    dollars: price(best),
    ...(unsized.length > 0 ? { unsized } : { sizing: sizeAfd(model, best.attention, best.ffn, target) }),
  };
}

function storedPerRequest(model: CostModel, context: number): number {
  return sum(model.attention, (each) => storedBytes(each, context));
}

function price({ attention_price, ffn_price, total }: Pairing): Price {
  return { attention: attention_price, ffn: ffn_price, total };
}
