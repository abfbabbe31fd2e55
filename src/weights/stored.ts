/** Weights as a checkpoint stores them, read a range of rows at a time in one form per format. */
import type { WeightFormat } from '../tensor.ts';

/** Rows of a stored weight. */
export interface StoredRows {
  /**
   * Plain formats and ggml types: the rows as they stand in the file, whole blocks, row after row.
   * `fp8`: `[rows, cols]` e4m3 bytes. `int4`: `[rows, ceil(cols / 2)]` bytes of two unsigned values 0..15, the even column low.
   */
  readonly values: Uint8Array<ArrayBuffer>;
  /** `fp8`: one per row and block of `groupCols` columns (rows of one block repeat it). `int4`: `[rows, ceil(cols / groupCols)]`. */
  readonly scales?: Float32Array<ArrayBuffer>;
  /** `int4`: `[rows, ceil(cols / groupCols)]`, 8 where the file is symmetric. A weight is `(value - zero) * scale`. */
  readonly zeros?: Uint8Array<ArrayBuffer>;
}

/** One weight matrix, or a stack of them, of a checkpoint. */
export interface StoredWeight {
  /** The name that layouts use, whatever the file calls it. */
  readonly name: string;
  readonly format: WeightFormat;
  readonly experts: number;
  readonly rows: number;
  readonly cols: number;
  /** Columns that share a scale: `fp8` and `int4` only. */
  readonly groupCols?: number;
  /**
   * Rows [begin, end) of one expert. `into` may be used for them; they are then valid until it is used again.
   *
   * @throws WeightError when the file is truncated, or a scale is NaN or infinite.
   */
  readRows(expert: number, begin: number, end: number, into?: Uint8Array<ArrayBuffer>): Promise<StoredRows>;
}
