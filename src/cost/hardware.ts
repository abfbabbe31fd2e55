/** Hardware: price, peaks and network, each with its source. What a source does not give is undefined, never guessed. */
import { InputError } from '../errors.ts';

/** One accelerator card. Peaks are dense ones, without structured sparsity. */
export interface Hardware {
  readonly name: string;
  readonly dollars_per_hour?: number;
  /** FLOP/s of 8-bit floats; absent where the hardware has none. */
  readonly fp8_flops?: number;
  /** Operations per second of INT8 matrix products. */
  readonly int8_ops?: number;
  /** FLOP/s of BF16 or FP16. */
  readonly bf16_flops?: number;
  /** FLOP/s of FP32. */
  readonly fp32_flops?: number;
  readonly bytes_per_second: number;
  /** Network of a server of {@link CARDS_PER_SERVER} cards, one direction, bytes per second. */
  readonly server_network?: number;
  readonly source: string;
}

/** Cards of one attention or FFN instance (§7.3). */
export const CARDS_PER_SERVER = 8;

/** Bytes per second of network ports given by their number and Gbit/s. */
function ports(count: number, gigabits: number): number {
  return (count * gigabits * 1e9) / 8;
}

const PAPER = 'Step-3 report, Table 4 and §5.4';
const APPLE = 'Apple newsroom; GPU peak in FP32, where published';

/** Hardware by name: the four of the paper's tables first. */
export const HARDWARE: Readonly<Record<string, Hardware>> = {
  h800: {
    name: 'H800',
    dollars_per_hour: 2,
    bf16_flops: 9.89e14,
    fp8_flops: 1.98e15,
    bytes_per_second: 3.35e12,
    server_network: ports(8, 400),
    source: PAPER,
  },
  h20: {
    name: 'H20',
    dollars_per_hour: 0.8,
    bf16_flops: 1.48e14,
    fp8_flops: 2.96e14,
    bytes_per_second: 4e12,
    server_network: ports(8, 400),
    source: PAPER,
  },
  a800: {
    name: 'A800',
    dollars_per_hour: 0.75,
    bf16_flops: 3.12e14,
    int8_ops: 6.24e14,
    bytes_per_second: 2e12,
    server_network: ports(8, 200),
    source: `${PAPER}; INT8: NVIDIA A800 datasheet`,
  },
  '910b': {
    name: '910B',
    dollars_per_hour: 0.67,
    bf16_flops: 2.8e14,
    bytes_per_second: 1.6e12,
    server_network: ports(8, 200),
    source: `${PAPER}; the price is the paper's estimate`,
  },
  h100: {
    name: 'H100',
    bf16_flops: 9.895e14,
    fp8_flops: 1.979e15,
    bytes_per_second: 3.35e12,
    source: 'NVIDIA H100 datasheet, SXM5',
  },
  h200: {
    name: 'H200',
    bf16_flops: 9.895e14,
    fp8_flops: 1.979e15,
    bytes_per_second: 4.8e12,
    source: 'NVIDIA H200 datasheet, SXM',
  },
  l20: {
    name: 'L20',
    bf16_flops: 1.195e14,
    fp8_flops: 2.39e14,
    bytes_per_second: 8.64e11,
    server_network: ports(4, 200),
    source: 'NVIDIA L20 datasheet; network: Step-3 report, §6',
  },
  l4: {
    name: 'L4',
    bf16_flops: 1.21e14,
    fp8_flops: 2.42e14,
    bytes_per_second: 3e11,
    source: 'NVIDIA L4 datasheet, half of the peaks with sparsity',
  },
  rtx4090: {
    name: 'RTX 4090',
    fp32_flops: 8.26e13,
    bf16_flops: 1.652e14,
    fp8_flops: 3.303e14,
    bytes_per_second: 1.008e12,
    source: 'NVIDIA Ada architecture whitepaper, FP32 accumulation',
  },
  m1: { name: 'Apple M1', fp32_flops: 2.6e12, bytes_per_second: 6.8e10, source: APPLE },
  'm1-max': { name: 'Apple M1 Max', fp32_flops: 1.04e13, bytes_per_second: 4e11, source: APPLE },
  m2: { name: 'Apple M2', fp32_flops: 3.6e12, bytes_per_second: 1e11, source: APPLE },
  'm2-ultra': { name: 'Apple M2 Ultra', bytes_per_second: 8e11, source: APPLE },
  'm4-max': { name: 'Apple M4 Max', bytes_per_second: 5.46e11, source: APPLE },
};

/** The hardware of the paper's tables, in their order. */
export const PAPER_HARDWARE: readonly Hardware[] = [
  HARDWARE.h800,
  HARDWARE.h20,
  HARDWARE.a800,
  HARDWARE['910b'],
];

/** The hardware of that name, in any case; throws InputError listing the known names. */
export function hardware(name: string): Hardware {
  const key = name.trim().toLowerCase();
  if (!Object.hasOwn(HARDWARE, key)) {
    throw new InputError('hardware', `one of ${Object.keys(HARDWARE).join(', ')}`, name);
  }
  return HARDWARE[key];
}

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
