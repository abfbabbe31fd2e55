/** Streams checkpoint tensors into the device layout, a bounded piece at a time. */

import { WeightError } from '../errors.ts';
import { type FileRows, isPlain, packRows, rowBytes } from '../formats/index.ts';
import { decodeWeights, PLAIN_BYTES, type PlainFormat, padRow } from '../tensor.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { Placement, WeightMatrix, WeightPart, WeightShard, WeightVector } from './layout.ts';
import type { StoredRows, StoredWeight } from './stored.ts';

/** Most bytes of packed rows in a piece. */
const PIECE_BYTES = 16 * 1024 * 1024;

/** Packed rows for one place of a shard's buffer: read and checked. */
export interface Piece {
  readonly offset: number;
  readonly bytes: number;
  /** Checkpoint bytes that were read to make it. */
  readonly sourceBytes: number;
  /** Writes every byte, reading none; not after the next piece is asked for. */
  pack(out: Uint8Array<ArrayBuffer>): void;
}

/** Memory that rows are read into again and again: fresh memory costs more than filling it. */
export class Scratch {
  #bytes = new Uint8Array(0);

  /** Aligned ranges of these lengths; those given before are no longer valid. */
  take(lengths: readonly number[]): Uint8Array<ArrayBuffer>[] {
    const aligned = lengths.map((length) => Math.ceil(length / 16) * 16);
    const total = aligned.reduce((sum, length) => sum + length, 0);
    if (this.#bytes.length < total) this.#bytes = new Uint8Array(total);
    let end = 0;
    return aligned.map((length) => {
      end += length;
      return this.#bytes.subarray(end - length, end);
    });
  }
}

/** Rows of a part that stand in a piece. */
interface PartRows {
  readonly part: WeightPart;
  readonly weight: StoredWeight;
  readonly first: number;
  readonly last: number;
  /** Bytes of one row in the files. */
  readonly fileRow: number;
}

/**
 * Yields one shard in pieces, in order of their offsets.
 *
 * @throws WeightError when a weight is NaN or infinite, or a file is truncated; no read is then under way.
 */
export async function* packShard(
  checkpoint: Checkpoint,
  matrix: WeightMatrix,
  shard: WeightShard,
  scratch: Scratch,
): AsyncGenerator<Piece> {
  const size = rowBytes(shard, matrix.cols);
  const rowsEach = Math.max(1, Math.floor(PIECE_BYTES / size));
  const covered = matrix.parts.reduce((sum, part) => sum + part.sourceRows, 0) === matrix.rows;
  let offset = 0;
  for (let e = 0; e < shard.expertCount; e++) {
    for (let r = 0; r < shard.rowCount; r += rowsEach) {
      const begin = shard.rowBegin + r;
      const end = shard.rowBegin + Math.min(shard.rowCount, r + rowsEach);
      const parts = partsWithin(checkpoint, matrix, begin, end);
      const into = scratch.take(parts.map(({ first, last, fileRow }) => (last - first) * fileRow));
      const expert = shard.expertBegin + e;
      const read = await all(
        parts.map(({ weight, first, last }, i) => weight.readRows(expert, first, last, into[i])),
      );
      const bytes = (end - begin) * size;
      yield {
        offset,
        bytes,
        sourceBytes: parts.reduce((sum, rows) => sum + placedRows(rows, begin, end) * rows.fileRow, 0),
        pack: (out) => {
          if (!covered) out.fill(0);
          parts.forEach((rows, i) => {
            packPart(matrix, shard, rows, read[i], begin, end, out);
          });
        },
      };
      offset += bytes;
    }
  }
}

/** Results of all; when some fail, the error of the first of them, once none is under way. */
async function all<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

function partsWithin(checkpoint: Checkpoint, matrix: WeightMatrix, begin: number, end: number): PartRows[] {
  return matrix.parts.flatMap((part) => {
    const [first, last] = rowsWithin(part.rows, part.sourceRows, begin, end);
    const weight = checkpoint.weight(part.tensor);
    if (first >= last || weight === undefined) return [];
    const bytes = checkpoint.weights.get(part.tensor)?.bytes ?? 0;
    return [{ part, weight, first, last, fileRow: bytes / (weight.experts * part.sourceRows) }];
  });
}

/** Whether `count` elements follow each other as in the source. */
function isStraight(p: Placement, count: number): boolean {
  return p.step === 1 && (p.group >= count || p.groupStride === p.group);
}

/** How many of the rows are placed in [begin, end): others may be read with them. */
function placedRows({ part, first, last }: PartRows, begin: number, end: number): number {
  if (part.rows.run >= part.rows.group) return last - first;
  let count = 0;
  for (let r = first; r < last; r++) {
    const to = place(part.rows, r);
    if (to >= begin && to < end) count++;
  }
  return count;
}

/** Writes what a part contributes to packed rows [begin, end) of an expert. */
function packPart(
  matrix: WeightMatrix,
  shard: WeightShard,
  { part, first, last }: PartRows,
  read: StoredRows,
  begin: number,
  end: number,
  out: Uint8Array<ArrayBuffer>,
): void {
  const source = deviceRows(shard, matrix, part, read, last - first);
  const size = rowBytes(shard, matrix.cols);
  if (isStraight(part.rows, part.sourceRows)) {
    out.set(source, (place(part.rows, first) - begin) * size);
    return;
  }
  for (let r = first; r < last; r++) {
    const to = place(part.rows, r);
    if (to < begin || to >= end) continue;
    out.set(source.subarray((r - first) * size, (r - first + 1) * size), (to - begin) * size);
  }
}

/** Rows of a part as they lie on the device, one after another. */
function deviceRows(
  shard: WeightShard,
  matrix: WeightMatrix,
  part: WeightPart,
  file: FileRows,
  count: number,
): Uint8Array {
  if (isPlain(shard.format)) return plainRows(shard.format, matrix.cols, part, file.values, count);
  return packRows(shard, matrix.cols, file, count);
}

function plainRows(
  format: PlainFormat,
  cols: number,
  part: WeightPart,
  source: Uint8Array,
  count: number,
): Uint8Array {
  const size = PLAIN_BYTES[format];
  const sourceRow = part.sourceCols * size;
  const packedRow = padRow(cols) * size;
  if (sourceRow === packedRow && isStraight(part.cols, part.sourceCols)) return source;
  const out = new Uint8Array(count * packedRow);
  for (let r = 0; r < count; r++) {
    const row = source.subarray(r * sourceRow, (r + 1) * sourceRow);
    for (let c = 0; c < part.sourceCols; c += part.cols.group) {
      const run = row.subarray(c * size, Math.min(c + part.cols.group, part.sourceCols) * size);
      out.set(run, r * packedRow + place(part.cols, c) * size);
    }
  }
  return out;
}

function place(p: Placement, i: number): number {
  const inGroup = i % p.group;
  return (
    p.base +
    Math.floor(i / p.group) * p.groupStride +
    (inGroup % p.run) * p.step +
    Math.floor(inGroup / p.run)
  );
}

/** A range of source rows that holds all those placed within [begin, end), and others only where runs alternate. */
function rowsWithin(p: Placement, count: number, begin: number, end: number): [number, number] {
  if (p.run >= p.group) return [firstAtOrAfter(p, count, begin), firstAtOrAfter(p, count, end)];
  const firstGroup = Math.max(0, Math.floor((begin - p.base) / p.groupStride));
  const lastGroup = Math.max(0, Math.ceil((end - p.base) / p.groupStride));
  return [Math.min(count, firstGroup * p.group), Math.min(count, lastGroup * p.group)];
}

/** Smallest source index in [0, count] whose place is at or after `target`. */
function firstAtOrAfter(p: Placement, count: number, target: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (place(p, mid) >= target) high = mid;
    else low = mid + 1;
  }
  return low;
}

/**
 * A vector as f32, padded with zeros to a multiple of 8; norms that are stored less 1 get it back here.
 *
 * @throws WeightError when a value is NaN or infinite.
 */
export async function packVector(
  checkpoint: Checkpoint,
  vector: WeightVector,
): Promise<Float32Array<ArrayBuffer>> {
  const out = new Float32Array(padRow(vector.length));
  const weight = checkpoint.weight(vector.tensor);
  if (weight === undefined) return out;
  const { values } = await weight.readRows(0, 0, 1);
  if (!isPlain(weight.format))
    throw new WeightError(checkpoint.name, vector.tensor, 'a norm in f32, f16 or bf16', weight.format);
  decodeWeights(weight.format, values, 0, vector.length, out);
  for (let i = 0; i < vector.length; i++) out[i] += vector.plus;
  return out;
}
