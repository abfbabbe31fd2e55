/** What the cost model knows of hardware: price, peaks, memory, network. What a source does not give is undefined. */
import { InputError } from '../errors.ts';

/** One accelerator card. Peaks are dense ones, without structured sparsity. */
export interface Hardware {
  readonly name: string;
  readonly dollars_per_hour?: number;
  /** FLOP/s of 8-bit floats; absent where the hardware has none. */
  readonly fp8_flops?: number;
  /** Operations per second of INT8 matrix products. */
  readonly int8_ops?: number;
  /** FLOP/s of BF16 or FP16, with sums in FP32. */
  readonly bf16_flops?: number;
  /** FLOP/s of FP32. */
  readonly fp32_flops?: number;
  readonly bytes_per_second: number;
  /** Capacity. */
  readonly memory_bytes?: number;
  /** Network of a server of {@link CARDS_PER_SERVER} cards, one direction, bytes per second. */
  readonly server_network?: number;
  /** Fewest rows of a matrix product: what is below is computed all the same. Only {@link attentionLayerSeconds} asks. */
  readonly matrix_rows?: number;
  readonly source: string;
}

/** Cards of one attention or FFN instance (§7.3). */
export const CARDS_PER_SERVER = 8;

/**
 * FLOP/s that 8-bit models reach: FP8 where there is FP8, else the next wider peak, as 8-bit weights are then computed
 * with in BF16 (§4.1).
 */
export function peakFlops(card: Hardware): number {
  return card.fp8_flops ?? card.bf16_flops ?? card.fp32_flops ?? missing(card, 'peak FLOP/s');
}

/** Operations per second of products whose both sides are in 8 bits, FP8 or INT8. */
export function productOps(card: Hardware): number {
  return card.fp8_flops ?? card.int8_ops ?? peakFlops(card);
}

/** The card as models with 16-bit weights see it. */
export function withoutFp8(card: Hardware): Hardware {
  const { fp8_flops: _, ...rest } = card;
  return rest;
}

/** The BF16 or FP16 peak. */
export function bf16Flops(card: Hardware): number {
  return card.bf16_flops ?? missing(card, 'BF16 peak FLOP/s');
}

/** FLOPs that the card does in the time of reading one byte. */
export function roofline(card: Hardware): number {
  return peakFlops(card) / card.bytes_per_second;
}

/** Network of a server, bytes per second. */
export function serverNetwork(card: Hardware): number {
  return card.server_network ?? missing(card, 'server network');
}

/** Memory of a card, bytes. */
export function memoryBytes(card: Hardware): number {
  return card.memory_bytes ?? missing(card, 'memory capacity');
}

/** Price of a card and second. */
export function dollarsPerSecond(card: Hardware): number {
  return (card.dollars_per_hour ?? missing(card, 'price per hour')) / 3600;
}

function missing(card: Hardware, what: string): never {
  const known = Object.entries(card)
    .filter(([, value]) => typeof value === 'number')
    .map(([name]) => name);
  throw new InputError(`hardware ${card.name}`, `a known ${what}`, known);
}
