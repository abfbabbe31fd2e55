/** The formats whose scales stand apart from their integers, one for a group of columns: `fp8` and `int4`. */
import type { Affine } from './blocks.ts';
import type { PlaneBits } from './planes.ts';

/** A format of groups. A group has one word on the device: its scale and, of `int4`, its zero point. */
export interface GroupFormat {
  readonly plane: PlaneBits;
  readonly levels: Float64Array;
  /** The word of a group. */
  word(scale: number, zero: number): number;
  /** Scale and shift from a group's word; `zero` of `int4` is taken off the level before it is scaled. */
  affine(word: number, out: Affine & { zero: number }): void;
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The number that an e4m3 byte stands for: 4 bits of exponent with bias 7, no infinities, 0x7f and 0xff are NaN. */
function e4m3ToNumber(byte: number): number {
  const [exponent, mantissa] = [(byte >>> 3) & 15, byte & 7];
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
  return byte & 0x80 ? -magnitude : magnitude;
}

/** Every format of groups by its name. */
export const GROUP_FORMATS: Readonly<Record<'fp8' | 'int4', GroupFormat>> = {
  fp8: {
    plane: 8,
    levels: Float64Array.from({ length: 256 }, (_, byte) => e4m3ToNumber(byte)),
    word(scale) {
      f32[0] = scale;
      return u32[0];
    },
    affine(word, out) {
      u32[0] = word;
      out.scale = f32[0];
      out.shift = -0;
      out.zero = 0;
    },
  },
  // A scale keeps 19 bits of its mantissa, all that binary16 and bfloat16 have; the zero point takes the last four.
  int4: {
    plane: 4,
    levels: Float64Array.from({ length: 16 }, (_, i) => i),
    word(scale, zero) {
      f32[0] = scale;
      return (((u32[0] + 7 + ((u32[0] >>> 4) & 1)) & ~15) | zero) >>> 0;
    },
    affine(word, out) {
      u32[0] = word & ~15;
      out.scale = f32[0];
      out.shift = -0;
      out.zero = word & 15;
    },
  },
};
