/** Dollars per million decoded tokens (§4.2): full peaks, no network cost, weights read once for many tokens. */
import { InputError } from '../errors.ts';
import { dollarsPerSecond, type Hardware, peakFlops } from './hardware.ts';
import type { TokenCost } from './token.ts';

const MILLION = 1e6;

/** Dollars for one FLOP and for one byte of memory traffic (Table 5). */
export interface UnitCosts {
  readonly per_flop: number;
  readonly per_byte: number;
}

/** Unit costs; throws InputError naming a missing price or peak. */
export function unitCosts(card: Hardware): UnitCosts {
  const second = dollarsPerSecond(card);
  return { per_flop: second / peakFlops(card), per_byte: second / card.bytes_per_second };
}

/** Seconds of a card per token for attention: its core by the slower of FLOPs and bytes, then the linear FLOPs. */
export function attentionSeconds(token: TokenCost, card: Hardware): number {
  const flops = peakFlops(card);
  const core = Math.max(token.attention_flops / flops, token.kv_bytes / card.bytes_per_second);
  return core + token.linear_flops / flops;
}

/** Seconds of a card per token for the FFN, with a batch that makes it compute-bound. */
export function ffnSeconds(token: TokenCost, card: Hardware): number {
  return token.ffn_flops / peakFlops(card);
}

/** Dollars per million tokens for attention: max(FLOPs·U_FLOP, bytes·U_byte) + linear FLOPs·U_FLOP. */
export function attentionPrice(token: TokenCost, card: Hardware): number {
  return MILLION * attentionSeconds(token, card) * dollarsPerSecond(card);
}

/** Dollars per million tokens for the FFN: FLOPs·U_FLOP. */
export function ffnPrice(token: TokenCost, card: Hardware): number {
  return MILLION * ffnSeconds(token, card) * dollarsPerSecond(card);
}

/** Where attention and FFN run, and dollars per million tokens. */
export interface Pairing {
  readonly attention: Hardware;
  readonly ffn: Hardware;
  readonly attention_price: number;
  readonly ffn_price: number;
  readonly total: number;
}

/** Attention and FFN on given cards. */
export function pairing(token: TokenCost, attention: Hardware, ffn: Hardware): Pairing {
  const attention_price = attentionPrice(token, attention);
  const ffn_price = ffnPrice(token, ffn);
  return { attention, ffn, attention_price, ffn_price, total: attention_price + ffn_price };
}

/** Under attention-FFN disaggregation each part runs where it is cheapest. */
export function bestPairing(token: TokenCost, cards: readonly Hardware[]): Pairing {
  return pairing(token, cheapest(cards, token, attentionPrice), cheapest(cards, token, ffnPrice));
}

function cheapest(cards: readonly Hardware[], token: TokenCost, price: typeof ffnPrice): Hardware {
  if (cards.length === 0) throw new InputError('hardware', 'at least one card', cards);
  return cards.reduce((best, card) => (price(token, card) < price(token, best) ? card : best));
}
