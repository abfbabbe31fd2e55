/** Variants of kernels of compressed weights that multiply packed bytes, for the formats whose weights are integers. */
import type { WeightFormat } from '../tensor.ts';
import type { Tolerance, Variant } from './kernel.ts';
import { hasBytes } from './weights.ts';

/** A variant whose x is exact where it becomes integers. */
export const exact = (of: Variant): Variant => ({ ...of, constants: { ...of.constants, ROUNDED: false } });

/** Products of bytes: the same error as f32, and fewer instructions. */
export function withBytes(of: Variant): Variant {
  const available: Variant['available'] = (caps) => of.available(caps) && caps.packedDots === true;
  return { ...of, name: `${of.name}-bytes`, available };
}

/**
 * Products of fewer bytes, where matrix units are to round x to binary16 as soon as there are more tokens: 16 bits of the
 * largest of 32 columns are several times finer.
 */
export function roundedBytes(bytes: Variant): Variant {
  return {
    ...bytes,
    name: bytes.name.replace(/bytes$/, 'rounded'),
    constants: { ...bytes.constants, ROUNDED: true },
    available: (caps) => caps.matrixUnits && bytes.available(caps),
  };
}

/** Whether a variant is one of these two. */
export function usesBytes({ name }: Variant): boolean {
  return /-(bytes|rounded)$/.test(name);
}

/**
 * Rounded activations: errors of `columns` products within ±1 add up like a random walk, of numbers that are `larger`
 * than 1.
 */
export function roundedTolerance(
  { constants }: Variant,
  format: WeightFormat,
  columns: number,
  larger = 1,
): Tolerance {
  const exactly = { abs: 2e-5, rel: 2e-5, cosine: 1e-9 };
  if (constants?.ROUNDED !== true || !hasBytes(format)) return exactly;
  return { ...exactly, abs: exactly.abs + 2 ** -15 * larger * Math.sqrt(columns), cosine: 1e-8 };
}
