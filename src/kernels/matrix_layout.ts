/**
 * What the workgroups of matmul_matrix are made of, and which columns several of them share, by how long rounds of workgroups
 * take. Times are those of an H200; elsewhere another choice may be faster, and each is right.
 */
import { ceilDiv } from '../tensor.ts';
import type { Constants } from '../wgsl/specialise.ts';
import { partColumns, type SplitK, splitTiles } from './split_k.ts';

/** Shape of a workgroup: rows of w, and the constants of the text. */
export interface MatrixLayout {
  readonly rows: number;
  readonly constants: Constants;
}

/** A layout whose rounds were timed. */
interface Timed extends MatrixLayout {
  /** Workgroups that run side by side. */
  readonly side: number;
  /** Microseconds that a round of them takes beside those for its columns. */
  readonly start: number;
  /** Nanoseconds of a column. */
  readonly column: number;
  /** What a round takes of that where no more than half of the workgroups are there, so that each has a processor for itself. */
  readonly alone?: number;
}

/** A product: of how many columns and rows of w with how many rows of x, in tiles of how many. */
export interface MatrixShape {
  /** Whether weights have 16 bits, or are compressed. */
  readonly plain: boolean;
  /** Whether results are rotated. */
  readonly roped: boolean;
  readonly tokens: number;
  readonly rows: number;
  readonly K: number;
  readonly tile: number;
}

/** Tokens of the smallest tiles: half of what a matrix has. */
export const HALF_TILE = 8;

/** Tokens that a tile may have. */
export const MATRIX_TILES: readonly number[] = [HALF_TILE, 16, 64, 96, 128];

/**
 * Whether weights of 16 bits (`plain`) or compressed ones, of experts or dense layers, have tiles of so many tokens. Tiles of 8 are
 * slower for compressed experts, and bring dense layers of 16 bits nothing.
 */
export function hasTile(tile: number, plain: boolean, experts: boolean): boolean {
  if (tile === 96) return plain && experts;
  return tile !== HALF_TILE || plain === experts;
}

const layout = (
  TM: number,
  TN: number,
  SG_M: number,
  SG_N: number,
  SG_K: number,
  DEPTH: number,
  AHEAD = 2,
): MatrixLayout => ({
  rows: 16 * TN * SG_N,
  constants: { TM, TN, SG_M, SG_N, SG_K, DEPTH, AHEAD },
});

/** Of 16 tokens, by the number of rows: many, some, few. Where rows are few, subgroups share the columns. */
const OF_16 = [layout(1, 1, 1, 2, 2, 128), layout(1, 1, 1, 1, 4, 128), layout(1, 1, 1, 1, 8, 256)] as const;
const OF_16_UNITS = [OF_16[0], OF_16[0], layout(1, 1, 1, 1, 4, 256)] as const;

/** The same of more than some rows of 16-bit weights, whose results are not rotated: less staged, for more workgroups. */
const OF_16_MORE = layout(1, 1, 1, 1, 4, 64);

/** Rows from which they are many, more than some, or some. */
const MANY_ROWS = 20_000;
const MORE_ROWS = 12_000;
const SOME_ROWS = 6000;

/** Of half a matrix: as little staged as may be, for as many workgroups as there is memory for. */
const OF_HALF = layout(1, 1, 1, 1, 4, 128);

/** The same of compressed weights, in dense layers: of many rows, and of fewer, whose columns more subgroups share. */
const OF_HALF_UNITS = [layout(1, 1, 1, 1, 2, 128), layout(1, 1, 1, 1, 4, 256)] as const;

/** Of 64 tokens. */
const SMALL: Timed = { ...layout(2, 2, 2, 1, 2, 64), side: 396, start: 3.1, column: 11.1 };
const SQUARE: Timed = { ...layout(2, 2, 2, 2, 1, 64), side: 264, start: 3, column: 12.4 };
const DEEP: Timed = { ...layout(2, 2, 2, 2, 2, 128), side: 132, start: 2, column: 7.1 };
const NARROW: Timed = { ...layout(2, 1, 2, 1, 4, 128), side: 264, start: 3, column: 6.2 };
/** Of compressed weights, an invocation has at least a unit of 32 columns to fetch. */
const SQUARE_UNITS: Timed = { ...layout(2, 4, 2, 1, 2, 64, 1), side: 264, start: 3, column: 16 };
const DEEP_UNITS: Timed = { ...DEEP, column: 10.8 };

/** Of 96 tokens. */
const OF_96 = layout(3, 2, 2, 4, 1, 64);

/** Of 128 tokens. Sums of 4 x 4 products make most of what is staged, but leave a workgroup few subgroups. */
const WIDE: Timed = { ...layout(4, 4, 2, 2, 1, 32), side: 264, start: 8, column: 32, alone: 0.78 };
const BROAD: Timed = { ...layout(4, 2, 2, 4, 1, 64), side: 132, start: 5, column: 18 };
/** The same where results are rotated, which keeps more registers busy. */
const WIDE_ROPED: Timed = { ...layout(4, 4, 2, 2, 1, 32, 1), side: 264, start: 26, column: 32, alone: 0.78 };
const BROAD_ROPED: Timed = { ...BROAD, start: 17 };
const WIDE_UNITS: Timed = { ...layout(4, 4, 2, 2, 1, 32, 1), side: 264, start: 8, column: 38.5, alone: 0.85 };
const BROAD_UNITS: Timed = { ...layout(4, 2, 2, 4, 1, 64, 1), side: 132, start: 3, column: 23 };

/** Layouts of tiles of 64 and 128 tokens to choose from. */
function candidates({ plain, roped, tile }: MatrixShape): readonly Timed[] {
  if (tile === 64) return plain ? [SMALL, SQUARE, DEEP, NARROW] : [SQUARE_UNITS, DEEP_UNITS];
  if (!plain) return [BROAD_UNITS, WIDE_UNITS];
  return roped ? [BROAD_ROPED, WIDE_ROPED] : [BROAD, WIDE];
}

/** Microseconds of `workgroups` that have `columns` each. */
function roundsUs({ side, start, column, alone = 1 }: Timed, workgroups: number, columns: number): number {
  const last = workgroups % side;
  const rounds = ceilDiv(workgroups, side) - (last > 0 && last * 2 <= side ? 1 - alone : 0);
  return rounds * (start + (columns * column) / 1000);
}

/** Most parts of columns, and most bytes that their sums may take. */
const MOST_PARTS = 16;
const MOST_BYTES = 64 * 1024 * 1024;

/** Bytes of sums in a microsecond, to memory and back, and what the call that adds them up takes beside those. */
const SUMS_OUT = 2.5e6;
const SUMS_IN = 4.5e6;
const JOIN_US = 4;

/** Columns that a layout stages without an end within a round: those of a part are whole rounds. */
const splits = (timed: Timed): boolean => Number(timed.constants.DEPTH) <= 64;

/** Tiles count as full, so that what is chosen, and compiled, depends on their number alone. */
const tilesOf = ({ tokens, tile }: MatrixShape): number => ceilDiv(tokens, tile);

/** Bytes of the sums of one part, of the rows from `from` on. */
const sumsBytes = (shape: MatrixShape, from: number): number =>
  tilesOf(shape) * shape.tile * (shape.rows - from) * 4;

/** Microseconds of a product in one layout, its sums and their addition included where columns are split. */
function productUs(shape: MatrixShape, timed: Timed, splitK: SplitK | undefined): number {
  const tiles = tilesOf(shape);
  const { whole, parts } = splitTiles(shape.rows, timed.rows, splitK);
  const us = roundsUs(timed, whole * tiles, shape.K);
  if (splitK === undefined) return us;
  const bytes = sumsBytes(shape, splitK.from);
  return (
    us +
    roundsUs(timed, parts * tiles, partColumns(shape.K, splitK.parts)) +
    (splitK.parts * bytes) / SUMS_OUT +
    ((splitK.parts + 1) * bytes) / SUMS_IN +
    JOIN_US
  );
}

/** A way to make a product. */
interface Choice {
  readonly timed: Timed;
  readonly splitK: SplitK | undefined;
  readonly us: number;
}

const choice = (shape: MatrixShape, timed: Timed, splitK: SplitK | undefined): Choice => ({
  timed,
  splitK,
  us: productUs(shape, timed, splitK),
});

const least = (choices: readonly Choice[]): Choice =>
  choices.reduce((best, one) => (one.us < best.us ? one : best));

/** The ways to split columns that a layout may gain from: of all rows, or of those that do not fill a round. */
function splitsOf(shape: MatrixShape, timed: Timed): SplitK[] {
  if (!splits(timed)) return [];
  const tiles = tilesOf(shape);
  const rows = ceilDiv(shape.rows, timed.rows);
  const full = Math.floor((Math.floor((rows * tiles) / timed.side) * timed.side) / tiles) * timed.rows;
  const found: SplitK[] = [];
  for (const from of full > 0 && full < shape.rows ? [0, full] : [0]) {
    for (let wanted = 2; wanted <= MOST_PARTS; wanted++) {
      const parts = ceilDiv(shape.K, partColumns(shape.K, wanted));
      if (parts === wanted && parts * sumsBytes(shape, from) <= MOST_BYTES) found.push({ from, parts });
    }
  }
  return found;
}

/** What splitting has to save to be worth a call more: of the time, and in microseconds. */
const WORTH = 0.93;
const WORTH_US = 5;

/** Products of fewer microseconds are not split: rounds of few workgroups are shorter than full ones, which are what is known. */
const LEAST_US = 25;

/** What was chosen before, by all that it depends on: layers are alike, and plans of many lengths are made. */
const chosen = new Map<string, Choice>();

function choose(shape: MatrixShape): Choice {
  const { plain, roped, tile, rows, K } = shape;
  const key = [plain, roped, tile, tilesOf(shape), rows, K].join();
  const known = chosen.get(key) ?? chooseAnew(shape);
  chosen.set(key, known);
  return known;
}

function chooseAnew(shape: MatrixShape): Choice {
  const timed = candidates(shape);
  const whole = least(timed.map((one) => choice(shape, one, undefined)));
  if (whole.us < LEAST_US) return whole;
  const split = timed.flatMap((one) => splitsOf(shape, one).map((splitK) => choice(shape, one, splitK)));
  const best = least([whole, ...split]);
  return best.us < Math.min(WORTH * whole.us, whole.us - WORTH_US) ? best : whole;
}

/** Which columns of a dense product are best split, if any. Tiles have 64 or 128 tokens, or nothing is. */
export function matrixSplit(shape: MatrixShape): SplitK | undefined {
  return shape.tile === 64 || shape.tile === 128 ? choose(shape).splitK : undefined;
}

/** Microseconds that a dense product takes in tiles of 64 or 128 tokens, its columns split where that is faster. */
export function matrixUs(shape: MatrixShape): number {
  return choose(shape).us;
}

/** How workgroups of a dense product are laid out. */
export function denseLayout(shape: MatrixShape, splitK: SplitK | undefined): MatrixLayout {
  if (shape.tile === HALF_TILE) return OF_HALF_UNITS[shape.rows >= MANY_ROWS ? 0 : 1];
  if (shape.tile === 16) {
    const [many, some, few] = shape.plain ? OF_16 : OF_16_UNITS;
    if (shape.rows >= MANY_ROWS) return many;
    if (shape.plain && !shape.roped && shape.rows >= MORE_ROWS) return OF_16_MORE;
    return shape.rows >= SOME_ROWS ? some : few;
  }
  const fits = (timed: Timed) => splitK === undefined || (splits(timed) && splitK.from % timed.rows === 0);
  const fitting = candidates(shape).filter(fits);
  return least(fitting.map((timed) => choice(shape, timed, splitK))).timed;
}

/** How workgroups of experts are laid out, which have many together, however few rows each expert has. */
export function expertLayout(plain: boolean, tile: number): MatrixLayout {
  if (tile === HALF_TILE) return OF_HALF;
  if (tile === 16) return OF_16[0];
  if (tile === 96) return OF_96;
  if (tile === 64) return plain ? SQUARE : SQUARE_UNITS;
  return plain ? BROAD : WIDE_UNITS;
}
