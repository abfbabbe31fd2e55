/** The bytes of one tensor of an open file, and the weights that are made of them. */
import type { StoredWeight } from './stored.ts';

/** One tensor of an open file, whatever the container. */
export interface TensorData {
  readonly name: string;
  /** Name of the file that holds it. */
  readonly file: string;
  /** Element or block type, as the file names it. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Its length in bytes. */
  readonly bytes: number;
  /** `length` bytes from byte `begin`, as `RangeFile` reads them; WeightError when the file fails. */
  read(begin: number, length: number, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
}

/** A weight with where it comes from. */
export interface CheckpointWeight extends StoredWeight {
  /** `[length]`, `[rows, cols]` or `[experts, rows, cols]`. A vector is one row. */
  readonly shape: readonly number[];
  /** Name of the file that holds it, or the first part of it. */
  readonly file: string;
  /** Its length in the files, with scales and zero points. */
  readonly bytes: number;
}

/** Experts, rows and columns of a shape of one to three dimensions. */
export function matrixShape(shape: readonly number[]): { experts: number; rows: number; cols: number } {
  const [cols, rows = 1, experts = 1] = [...shape].reverse();
  return { experts, rows, cols };
}
