/** Columns of a linear layer that several workgroups share, each a part of them, and the sums that these leave. */
import { ceilDiv } from '../tensor.ts';
import type { BindingSpec } from './kernel.ts';

/** Which rows of a shard have their columns in parts, and in how many. */
export interface SplitK {
  /** The rows from here on: whole tiles are before. */
  readonly from: number;
  /** At least 2, each with columns of its own. */
  readonly parts: number;
}

/** Columns of a part are a multiple of this, which every layout whose columns are split stages in whole rounds. */
const PART_COLUMNS = 64;

/** Columns of each part of `K` but the last, where there are to be `parts`. */
export const partColumns = (K: number, parts: number): number =>
  ceilDiv(ceilDiv(K, parts), PART_COLUMNS) * PART_COLUMNS;

/** Rows that are split, of `rowCount` in all, padded to fours. */
export const splitRows = (rowCount: number, { from }: SplitK): number => ceilDiv(rowCount - from, 4) * 4;

/** Tiles of `tileRows` of `rowCount` rows: those whose workgroups have all columns, and the workgroups of the others. */
export function splitTiles(
  rowCount: number,
  tileRows: number,
  splitK: SplitK | undefined,
): { whole: number; parts: number } {
  const tiles = ceilDiv(rowCount, tileRows);
  if (splitK === undefined) return { whole: tiles, parts: 0 };
  const whole = splitK.from / tileRows;
  return { whole, parts: (tiles - whole) * splitK.parts };
}

/** Sums of parts of the columns: `[parts, tokens, splitRows]`, the last one again in the padding. */
export function partsBinding(
  tokens: number,
  rowCount: number,
  splitK: SplitK,
  use: 'in' | 'out',
): BindingSpec {
  return { type: 'f32', dims: [splitK.parts, tokens, splitRows(rowCount, splitK)], use };
}

/** What is wrong with columns `K` of `rowCount` rows that are to be split, or undefined. */
export function splitFault(rowCount: number, K: number, { from, parts }: SplitK): string | undefined {
  if (!Number.isInteger(from) || from < 0 || from % 4 !== 0 || from >= rowCount) {
    return `splitK: expected some of ${rowCount} rows, from a multiple of 4, got ${from}`;
  }
  if (!(parts >= 2) || ceilDiv(K, partColumns(K, parts)) !== parts) {
    return `splitK: expected 2 or more parts of ${K} columns, each with some, got ${parts}`;
  }
  return undefined;
}
