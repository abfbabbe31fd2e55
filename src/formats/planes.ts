/**
 * Planes: how small integers of a row lie on the device. A row is cut into units of 32 columns; a plane of `bits` bits holds
 * `bits` words of each unit, unit after unit. Within a unit, quad q (four neighbouring columns) stands in slot
 * q ^ (unit % 8): lanes of a GPU read neighbouring units at once, and so meet x in different memory banks.
 *
 * Slot s lies, in bits from the unit's first: 8 bits a value: at 32 s, its bytes in order. 4 bits: in word s / 2 at
 * 16 (s % 2), the word then turned left by 2. 2 bits: in word s / 4 at 16 (s % 2) + 8 (s / 2 % 2). 1 bit: at
 * 16 (s % 2) + 4 (s / 2). Slots 2j and 2j + 1 thus lie 16 bits apart, as two binary16 numbers do.
 */

/** Columns of a unit. */
export const UNIT = 32;

/** Bits of a value of a plane. */
export type PlaneBits = 1 | 2 | 4 | 8;

/** Units of a row of `cols` columns. */
export function unitsOf(cols: number): number {
  return Math.ceil(cols / UNIT);
}

/** Bit at which slot `s` begins, from the first bit of its unit; of 4-bit planes before words are turned. */
function slotBit(bits: PlaneBits, s: number): number {
  const [j, p] = [s >> 1, s & 1];
  if (bits === 8) return 32 * s;
  if (bits === 4) return 32 * j + 16 * p;
  if (bits === 2) return 32 * (j >> 1) + 16 * p + 8 * (j & 1);
  return 16 * p + 4 * j;
}

/** Slot bits by plane width, looked up by slot. */
const SLOT_BITS: Readonly<Record<PlaneBits, readonly number[]>> = {
  1: Array.from({ length: 8 }, (_, s) => slotBit(1, s)),
  2: Array.from({ length: 8 }, (_, s) => slotBit(2, s)),
  4: Array.from({ length: 8 }, (_, s) => slotBit(4, s)),
  8: Array.from({ length: 8 }, (_, s) => slotBit(8, s)),
};

/**
 * Writes bits `from .. from + bits` of every value into a plane: `values` holds whole units, `words` from `at` the plane.
 */
export function writePlane(
  bits: PlaneBits,
  from: number,
  values: Uint8Array,
  words: Uint32Array,
  at: number,
): void {
  const starts = SLOT_BITS[bits];
  const mask = (1 << bits) - 1;
  const units = values.length / UNIT;
  for (let unit = 0; unit < units; unit++) {
    const word0 = at + unit * bits;
    for (let w = 0; w < bits; w++) words[word0 + w] = 0;
    for (let q = 0; q < 8; q++) {
      const start = starts[q ^ (unit & 7)];
      const c = unit * UNIT + q * 4;
      const packed =
        ((values[c] >>> from) & mask) |
        (((values[c + 1] >>> from) & mask) << bits) |
        (((values[c + 2] >>> from) & mask) << (2 * bits)) |
        (((values[c + 3] >>> from) & mask) << (3 * bits));
      words[word0 + (start >> 5)] |= packed << (start & 31);
    }
    if (bits !== 4) continue;
    for (let w = word0; w < word0 + 4; w++) words[w] = (words[w] << 2) | (words[w] >>> 30);
  }
}

/** Adds the values of a plane, shifted left by `to`, to `values` (whole units). */
export function readPlane(
  bits: PlaneBits,
  to: number,
  words: Uint32Array,
  at: number,
  values: Uint8Array,
): void {
  const starts = SLOT_BITS[bits];
  const mask = (1 << bits) - 1;
  const units = values.length / UNIT;
  for (let unit = 0; unit < units; unit++) {
    for (let q = 0; q < 8; q++) {
      const start = starts[q ^ (unit & 7)];
      let word = words[at + unit * bits + (start >> 5)];
      if (bits === 4) word = (word >>> 2) | (word << 30);
      const packed = word >>> (start & 31);
      const c = unit * UNIT + q * 4;
      values[c] |= (packed & mask) << to;
      values[c + 1] |= ((packed >>> bits) & mask) << to;
      values[c + 2] |= ((packed >>> (2 * bits)) & mask) << to;
      values[c + 3] |= ((packed >>> (3 * bits)) & mask) << to;
    }
  }
}
