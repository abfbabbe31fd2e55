/**
 * The block formats of ggml as they stand in files: how a block splits into small integers and the bytes of its scales, and
 * what those scales are. Layouts and arithmetic: ggml's `ggml-common.h` and `ggml-quants.c`.
 */
import { f16ToNumber, type PlainFormat, type WeightFormat } from '../tensor.ts';
import type { PlaneBits } from './planes.ts';

/**
 * Scale and shift of 16 neighbouring columns: a weight is `scale * level + shift`, rounded to f32 after each. Where there is
 * no shift it is -0, which leaves every number, -0 too, as it is.
 */
export interface Affine {
  scale: number;
  shift: number;
}

/** The names of the block formats. */
export type BlockName = Exclude<WeightFormat, PlainFormat | 'fp8' | 'int4'>;

/** A format whose rows are blocks of a fixed size. */
export interface BlockFormat {
  /** Columns and bytes of a block in a file. */
  readonly cols: number;
  readonly bytes: number;
  /** Widths of the planes that hold an integer, lowest bits first. */
  readonly planes: readonly PlaneBits[];
  /** Bytes of a block in each stream of scales on the device. */
  readonly streams: readonly number[];
  /** What an integer stands for. */
  readonly levels: Float64Array;
  /** Byte offsets in a block of its f16 scales, each with the largest magnitude that a scale of 1 gives a weight. */
  readonly halves: readonly (readonly [offset: number, reach: number])[];
  /** Splits the block at byte `at` of `file`: integers into `q` from `to`, bytes for the streams into `scales`. */
  split(file: Uint8Array, at: number, q: Uint8Array, to: number, scales: Uint8Array): void;
  /** Scale and shift of columns 16 h .. 16 h + 15 from the bytes of the streams. */
  affine(scales: Uint8Array, h: number, out: Affine): void;
}

const f16 = (bytes: Uint8Array, at: number) => f16ToNumber(bytes[at] | (bytes[at + 1] << 8));

/** Levels 0 .. count - 1, each less `zero`. */
const from = (count: number, zero: number) => Float64Array.from({ length: count }, (_, i) => i - zero);

/** The 16 levels of iq4_nl and iq4_xs (`kvalues_iq4nl`). */
const IQ4_LEVELS = Float64Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

/** Twice the values of e2m1, whose scale is halved in turn. */
const E2M1_LEVELS = Float64Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

const reach = (levels: Float64Array) => levels.reduce((most, level) => Math.max(most, Math.abs(level)), 0);

/** 32 nibbles in 16 bytes from byte `at`: low ones first, then high ones. */
function nibbles32(file: Uint8Array, at: number, q: Uint8Array, to: number): void {
  for (let i = 0; i < 16; i++) {
    q[to + i] = file[at + i] & 15;
    q[to + 16 + i] = file[at + i] >>> 4;
  }
}

/** A fifth bit for each of 32 integers, from 4 bytes. */
function fifthBits(file: Uint8Array, at: number, q: Uint8Array, to: number): void {
  for (let i = 0; i < 32; i++) q[to + i] |= ((file[at + (i >> 3)] >>> (i & 7)) & 1) << 4;
}

/** 256 nibbles in 128 bytes: of each 32 bytes the low ones, then the high ones. */
function nibbles256(file: Uint8Array, at: number, q: Uint8Array, to: number): void {
  for (let j = 0; j < 4; j++) {
    for (let i = 0; i < 32; i++) {
      const byte = file[at + j * 32 + i];
      q[to + j * 64 + i] = byte & 15;
      q[to + j * 64 + 32 + i] = byte >>> 4;
    }
  }
}

/** Blocks of 32 with an f16 scale and, if `min`, an f16 shift. */
function small(
  bits: 4 | 5 | 8,
  min: boolean,
  levels: Float64Array,
  unpack: (file: Uint8Array, at: number, q: Uint8Array, to: number) => void,
): BlockFormat {
  const head = min ? 4 : 2;
  return {
    cols: 32,
    bytes: head + bits * 4,
    planes: bits === 5 ? [4, 1] : [bits],
    streams: [head],
    levels,
    halves: min
      ? [
          [0, reach(levels)],
          [2, 1],
        ]
      : [[0, reach(levels)]],
    split(file, at, q, to, scales) {
      unpack(file, at + head, q, to);
      for (let i = 0; i < head; i++) scales[i] = file[at + i];
    },
    affine(scales, _, out) {
      out.scale = f16(scales, 0);
      out.shift = min ? f16(scales, 2) : -0;
    },
  };
}

const fiveBits = (file: Uint8Array, at: number, q: Uint8Array, to: number) => {
  nibbles32(file, at + 4, q, to);
  fifthBits(file, at, q, to);
};

/**
 * Six-bit scales and minimums of the 8 parts of 32 in 12 bytes (`get_scale_min_k4`), rearranged so that part j finds both
 * together: byte j holds the scale and the two lowest bits of the minimum, nibble j of bytes 8..11 its four highest.
 */
function splitScales(file: Uint8Array, at: number, scales: Uint8Array): void {
  scales.fill(0, 8, 12);
  for (let j = 0; j < 8; j++) {
    const low = file[at + (j & 3)];
    const mid = file[at + 4 + (j & 3)];
    const high = file[at + 8 + (j & 3)];
    const scale = j < 4 ? low & 63 : (high & 15) | ((low >>> 6) << 4);
    const min = j < 4 ? mid & 63 : (high >>> 4) | ((mid >>> 6) << 4);
    scales[j] = scale | ((min & 3) << 6);
    scales[8 + (j >> 1)] |= (min >>> 2) << (4 * (j & 1));
  }
}

/** q4_k and q5_k: f16 scale of scales, f16 scale of minimums, 12 bytes of both. */
function withMins(bits: 4 | 5): BlockFormat {
  return {
    cols: 256,
    bytes: 16 + bits * 32,
    planes: bits === 5 ? [4, 1] : [4],
    streams: [16],
    levels: from(1 << bits, 0),
    halves: [
      [0, 63 * ((1 << bits) - 1)],
      [2, 63],
    ],
    split(file, at, q, to, scales) {
      const high = at + 16;
      nibbles256(file, bits === 5 ? high + 32 : high, q, to);
      if (bits === 5) {
        for (let i = 0; i < 256; i++) q[to + i] |= ((file[high + (i & 31)] >>> (i >> 5)) & 1) << 4;
      }
      splitScales(file, at + 4, scales);
      for (let i = 0; i < 4; i++) scales[12 + i] = file[at + i];
    },
    affine(scales, h, out) {
      const j = h >> 1;
      const min = (scales[j] >>> 6) | (((scales[8 + (j >> 1)] >>> (4 * (j & 1))) & 15) << 2);
      out.scale = f16(scales, 12) * (scales[j] & 63);
      out.shift = -(f16(scales, 14) * min);
    },
  };
}

const q2_k: BlockFormat = {
  cols: 256,
  bytes: 84,
  planes: [2],
  streams: [16, 4],
  levels: from(4, 0),
  halves: [
    [80, 15 * 3],
    [82, 15],
  ],
  split(file, at, q, to, scales) {
    for (let i = 0; i < 256; i++) {
      q[to + i] = (file[at + 16 + (i >> 7) * 32 + (i & 31)] >>> (((i >> 5) & 3) * 2)) & 3;
    }
    for (let i = 0; i < 16; i++) scales[i] = file[at + i];
    for (let i = 0; i < 4; i++) scales[16 + i] = file[at + 80 + i];
  },
  affine(scales, h, out) {
    out.scale = f16(scales, 16) * (scales[h] & 15);
    out.shift = -(f16(scales, 18) * (scales[h] >>> 4));
  },
};

const q3_k: BlockFormat = {
  cols: 256,
  bytes: 110,
  planes: [2, 1],
  streams: [12, 2],
  levels: from(8, 4),
  halves: [[108, 32 * 4]],
  split(file, at, q, to, scales) {
    for (let i = 0; i < 256; i++) {
      const low = (file[at + 32 + (i >> 7) * 32 + (i & 31)] >>> (((i >> 5) & 3) * 2)) & 3;
      const high = (file[at + (i & 31)] >>> (i >> 5)) & 1;
      q[to + i] = low | (high << 2);
    }
    for (let i = 0; i < 14; i++) scales[i] = file[at + 96 + i];
  },
  affine(scales, h, out) {
    const low = (scales[h & 7] >>> (4 * (h >> 3))) & 15;
    const high = (scales[8 + (h & 3)] >>> (2 * (h >> 2))) & 3;
    out.scale = f16(scales, 12) * ((low | (high << 4)) - 32);
    out.shift = -0;
  },
};

const q6_k: BlockFormat = {
  cols: 256,
  bytes: 210,
  planes: [4, 2],
  streams: [16, 2],
  levels: from(64, 32),
  halves: [[208, 128 * 32]],
  split(file, at, q, to, scales) {
    for (let i = 0; i < 256; i++) {
      const [part, group, l] = [i >> 7, (i >> 5) & 3, i & 31];
      const low = (file[at + part * 64 + (group & 1) * 32 + l] >>> (4 * (group >> 1))) & 15;
      const high = (file[at + 128 + part * 32 + l] >>> (2 * group)) & 3;
      q[to + i] = low | (high << 4);
    }
    for (let i = 0; i < 18; i++) scales[i] = file[at + 192 + i];
  },
  affine(scales, h, out) {
    out.scale = f16(scales, 16) * ((scales[h] << 24) >> 24);
    out.shift = -0;
  },
};

const iq4_xs: BlockFormat = {
  cols: 256,
  bytes: 136,
  planes: [4],
  streams: [8],
  levels: IQ4_LEVELS,
  halves: [[0, 32 * 127]],
  split(file, at, q, to, scales) {
    for (let part = 0; part < 8; part++) nibbles32(file, at + 8 + part * 16, q, to + part * 32);
    for (let i = 0; i < 8; i++) scales[i] = file[at + i];
  },
  affine(scales, h, out) {
    const j = h >> 1;
    const low = (scales[4 + (j >> 1)] >>> (4 * (j & 1))) & 15;
    const high = ((scales[2] | (scales[3] << 8)) >>> (2 * j)) & 3;
    out.scale = f16(scales, 0) * ((low | (high << 4)) - 32);
    out.shift = -0;
  },
};

const mxfp4: BlockFormat = {
  cols: 32,
  bytes: 17,
  planes: [4],
  streams: [1],
  levels: E2M1_LEVELS,
  halves: [],
  split(file, at, q, to, scales) {
    nibbles32(file, at + 1, q, to);
    scales[0] = file[at];
  },
  affine(scales, _, out) {
    out.scale = 2 ** (scales[0] - 128);
    out.shift = -0;
  },
};

/** Every block format by its name. */
export const BLOCK_FORMATS: Readonly<Record<BlockName, BlockFormat>> = {
  q4_0: small(4, false, from(16, 8), nibbles32),
  q4_1: small(4, true, from(16, 0), nibbles32),
  q5_0: small(5, false, from(32, 16), fiveBits),
  q5_1: small(5, true, from(32, 0), fiveBits),
  // The sign bit is turned over, so that bytes count from the lowest level up.
  q8_0: small(8, false, from(256, 128), (file, at, q, to) => {
    for (let i = 0; i < 32; i++) q[to + i] = file[at + i] ^ 0x80;
  }),
  q2_k,
  q3_k,
  q4_k: withMins(4),
  q5_k: withMins(5),
  q6_k,
  iq4_nl: small(4, false, IQ4_LEVELS, nibbles32),
  iq4_xs,
  mxfp4,
};
