/** Known hardware, each with the source of its figures. */
import { InputError } from '../errors.ts';
import type { Hardware } from './hardware.ts';

const GB = 1e9;

/** Bytes per second of network ports given by their number and Gbit/s. */
function ports(count: number, gigabits: number): number {
  return (count * gigabits * 1e9) / 8;
}

const PAPER = 'Step-3 report, Table 4 and §5.4';
const DENSE = 'half of the peaks with sparsity';

/** Rows of Hopper's warpgroup products (PTX: wgmma.mma_async, shape m64nNk16). */
const HOPPER_ROWS = 64;
const APPLE = 'Apple newsroom; GPU peak in FP32 where Apple gives one';
const APPLE_GPU = 'Apple newsroom; GPU peak in FP32: hardware list of huggingface.js';

/** Hardware by name: the four of the paper's tables first. */
export const HARDWARE: Readonly<Record<string, Hardware>> = {
  h800: {
    name: 'H800',
    dollars_per_hour: 2,
    bf16_flops: 9.89e14,
    fp8_flops: 1.98e15,
    bytes_per_second: 3.35e12,
    memory_bytes: 80 * GB,
    server_network: ports(8, 400),
    matrix_rows: HOPPER_ROWS,
    source: `${PAPER}; memory: NVIDIA H800 datasheet`,
  },
  h20: {
    name: 'H20',
    dollars_per_hour: 0.8,
    bf16_flops: 1.48e14,
    fp8_flops: 2.96e14,
    bytes_per_second: 4e12,
    memory_bytes: 96 * GB,
    server_network: ports(8, 400),
    matrix_rows: HOPPER_ROWS,
    source: `${PAPER}; memory: NVIDIA H20 datasheet, 96 GB version`,
  },
  a800: {
    name: 'A800',
    dollars_per_hour: 0.75,
    bf16_flops: 3.12e14,
    int8_ops: 6.24e14,
    bytes_per_second: 2e12,
    memory_bytes: 80 * GB,
    server_network: ports(8, 200),
    source: `${PAPER}; INT8 and memory: NVIDIA A800 datasheet, SXM`,
  },
  '910b': {
    name: '910B',
    dollars_per_hour: 0.67,
    bf16_flops: 2.8e14,
    bytes_per_second: 1.6e12,
    memory_bytes: 64 * GB,
    server_network: ports(8, 200),
    source: `${PAPER}; the price is the report's estimate; memory: SGLang documentation, Atlas 800I A2`,
  },
  h100: {
    name: 'H100',
    bf16_flops: 9.895e14,
    fp8_flops: 1.979e15,
    bytes_per_second: 3.35e12,
    memory_bytes: 80 * GB,
    matrix_rows: HOPPER_ROWS,
    source: `NVIDIA H100 datasheet, SXM5, ${DENSE}`,
  },
  h200: {
    name: 'H200',
    bf16_flops: 9.895e14,
    fp8_flops: 1.979e15,
    bytes_per_second: 4.8e12,
    memory_bytes: 141 * GB,
    matrix_rows: HOPPER_ROWS,
    source: `NVIDIA H200 datasheet, SXM, ${DENSE}`,
  },
  l20: {
    name: 'L20',
    bf16_flops: 1.195e14,
    fp8_flops: 2.39e14,
    bytes_per_second: 8.64e11,
    memory_bytes: 48 * GB,
    server_network: ports(4, 200),
    source: 'NVIDIA L20 datasheet as others quote it; network: Step-3 report, §6',
  },
  l4: {
    name: 'L4',
    bf16_flops: 1.21e14,
    fp8_flops: 2.42e14,
    bytes_per_second: 3e11,
    memory_bytes: 24 * GB,
    source: `NVIDIA L4 datasheet, ${DENSE}`,
  },
  // The whitepaper's second edition: sums in FP32 halve this card's FP8 and FP16 rates.
  rtx4090: {
    name: 'RTX 4090',
    fp32_flops: 8.26e13,
    bf16_flops: 1.652e14,
    fp8_flops: 3.303e14,
    bytes_per_second: 1.008e12,
    memory_bytes: 24 * GB,
    source: 'NVIDIA Ada architecture whitepaper, sums in FP32',
  },
  m1: {
    name: 'Apple M1',
    fp32_flops: 2.6e12,
    bytes_per_second: 6.83e10,
    memory_bytes: 16 * GB,
    source: `${APPLE}; bandwidth: LPDDR4X-4266, 128 bits`,
  },
  'm1-max': {
    name: 'Apple M1 Max',
    fp32_flops: 1.04e13,
    bytes_per_second: 4e11,
    memory_bytes: 64 * GB,
    source: APPLE,
  },
  m2: {
    name: 'Apple M2',
    fp32_flops: 3.6e12,
    bytes_per_second: 1e11,
    memory_bytes: 24 * GB,
    source: APPLE,
  },
  'm2-ultra': { name: 'Apple M2 Ultra', bytes_per_second: 8e11, memory_bytes: 192 * GB, source: APPLE },
  m4: {
    name: 'Apple M4',
    fp32_flops: 4.6e12,
    bytes_per_second: 1.2e11,
    memory_bytes: 32 * GB,
    source: APPLE_GPU,
  },
  'm4-max': {
    name: 'Apple M4 Max',
    fp32_flops: 1.84e13,
    bytes_per_second: 5.46e11,
    memory_bytes: 128 * GB,
    source: APPLE_GPU,
  },
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
