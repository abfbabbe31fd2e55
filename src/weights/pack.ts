/** Streams checkpoint tensors into the device layout, a bounded piece at a time. */
import { decodeWeights, FORMAT_BYTES, padRow } from '../tensor.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { Placement, RowRange, WeightMatrix, WeightPart, WeightVector } from './layout.ts';

/** Most bytes of packed rows that are in memory at a time. */
const PIECE_BYTES = 16 * 1024 * 1024;

/** Packed bytes for one place of a shard's buffer. */
export interface Piece {
  readonly offset: number;
  /** Valid until the next piece is asked for, which takes their place: fresh memory costs more than filling it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Checkpoint bytes that were read to make it. */
  readonly sourceBytes: number;
}

/**
 * Yields the packed bytes of one shard in order of their offsets.
 *
 * @throws WeightError when a weight is NaN or infinite, or a file is truncated.
 */
export async function* packShard(
  checkpoint: Checkpoint,
  matrix: WeightMatrix,
  shard: RowRange,
): AsyncGenerator<Piece> {
  const rowBytes = padRow(matrix.cols) * FORMAT_BYTES[matrix.format];
  const rowsEach = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  const packed = new Uint8Array(Math.min(rowsEach, shard.rowCount) * rowBytes);
  let offset = 0;
  for (let e = 0; e < shard.expertCount; e++) {
    for (let r = 0; r < shard.rowCount; r += rowsEach) {
      const begin = shard.rowBegin + r;
      const end = shard.rowBegin + Math.min(shard.rowCount, r + rowsEach);
      const bytes = packed.subarray(0, (end - begin) * rowBytes).fill(0);
      let sourceBytes = 0;
      for (const part of matrix.parts) {
        sourceBytes += await packPart(checkpoint, matrix, part, shard.expertBegin + e, begin, end, bytes);
      }
      yield { offset, bytes, sourceBytes };
      offset += bytes.length;
    }
  }
}

/** Fills what `part` contributes to packed rows [begin, end) of an expert; returns the bytes of its source rows. */
async function packPart(
  checkpoint: Checkpoint,
  matrix: WeightMatrix,
  part: WeightPart,
  expert: number,
  begin: number,
  end: number,
  out: Uint8Array<ArrayBuffer>,
): Promise<number> {
  const [first, last] = rowsWithin(part.rows, part.sourceRows, begin, end);
  const weight = checkpoint.weight(part.tensor);
  if (first >= last || weight === undefined) return 0;
  const size = FORMAT_BYTES[matrix.format];
  const sourceRow = part.sourceCols * size;
  const packedRow = padRow(matrix.cols) * size;
  const { values: source } = await weight.readRows(expert, first, last);
  const straightRows = part.rows.step === 1 && part.rows.group >= part.sourceRows;
  if (straightRows && sourceRow === packedRow && part.cols.group >= part.sourceCols) {
    out.set(source, (place(part.rows, first) - begin) * packedRow);
    return source.length;
  }
  let used = 0;
  for (let r = first; r < last; r++) {
    const to = place(part.rows, r);
    if (to < begin || to >= end) continue;
    used += sourceRow;
    const row = source.subarray((r - first) * sourceRow, (r - first + 1) * sourceRow);
    const at = (to - begin) * packedRow;
    for (let c = 0; c < part.sourceCols; c += part.cols.group) {
      const run = row.subarray(c * size, Math.min(c + part.cols.group, part.sourceCols) * size);
      out.set(run, at + place(part.cols, c) * size);
    }
  }
  return used;
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
  decodeWeights(weight.format, values, 0, vector.length, out);
  for (let i = 0; i < vector.length; i++) out[i] += vector.plus;
  return out;
}
