/**
 * Rows of weights as they lie on the device. Plain floats stand as in files, padded to 8 columns. Compressed rows keep
 * their size: planes of small integers (`planes.ts`), then streams of scales, each from a whole word on, padded to 16 bytes.
 */
import { decodeWeights, isPlain, PLAIN_BYTES, padRow, type WeightFormat } from '../tensor.ts';
import { type Affine, BLOCK_FORMATS, type BlockFormat } from './blocks.ts';
import { GROUP_FORMATS, type GroupFormat } from './groups.ts';
import { type PlaneBits, readPlane, UNIT, unitsOf, writePlane } from './planes.ts';

export { isPlain } from '../tensor.ts';

/** A format and, of `fp8` and `int4`, the columns that share a scale. */
export interface RowFormat {
  readonly format: WeightFormat;
  readonly group?: number | undefined;
}

/** Every format of compressed rows. */
export const COMPRESSED_FORMATS = [
  ...Object.keys(BLOCK_FORMATS),
  ...Object.keys(GROUP_FORMATS),
] as readonly WeightFormat[];

/** Rows in the form of files, and their scales where those stand apart. */
export interface FileRows {
  readonly values: Uint8Array;
  readonly scales?: Float32Array | undefined;
  readonly zeros?: Uint8Array | undefined;
}

/** The block format of this name, or undefined. */
export function blockFormat(format: WeightFormat): BlockFormat | undefined {
  return Object.hasOwn(BLOCK_FORMATS, format)
    ? BLOCK_FORMATS[format as keyof typeof BLOCK_FORMATS]
    : undefined;
}

function groupFormat(format: WeightFormat): GroupFormat {
  return GROUP_FORMATS[format as keyof typeof GROUP_FORMATS];
}

/** Where a row's parts lie, in words. */
interface Parts {
  readonly planes: readonly { readonly bits: PlaneBits; readonly at: number }[];
  readonly streams: readonly { readonly bytes: number; readonly at: number }[];
  /** Columns that share an entry of the streams. */
  readonly blockCols: number;
  readonly words: number;
}

function partsOf({ format, group }: RowFormat, cols: number): Parts {
  const block = blockFormat(format);
  const units = unitsOf(cols);
  const blockCols = block?.cols ?? Math.min(group ?? cols, cols);
  const blocks = Math.ceil(cols / blockCols);
  let at = 0;
  const take = (words: number) => {
    const begin = at;
    at += words;
    return begin;
  };
  const planes = (block?.planes ?? [groupFormat(format).plane]).map((bits) => ({
    bits,
    at: take(units * bits),
  }));
  const streams = (block?.streams ?? [4]).map((bytes) => ({
    bytes,
    at: take(Math.ceil((blocks * bytes) / 4)),
  }));
  return { planes, streams, blockCols, words: Math.ceil(at / 4) * 4 };
}

/** Bytes of a row of `cols` columns on the device. */
export function rowBytes(row: RowFormat, cols: number): number {
  if (isPlain(row.format)) return padRow(cols) * PLAIN_BYTES[row.format];
  return partsOf(row, cols).words * 4;
}

/** What forbids rows of `cols` columns, or undefined: blocks are whole, groups whole units or the whole row. */
export function rowFault({ format, group }: RowFormat, cols: number): string | undefined {
  if (isPlain(format)) return undefined;
  const block = blockFormat(format);
  if (block !== undefined) {
    if (cols % block.cols === 0) return undefined;
    return `rows of whole ${format} blocks of ${block.cols} columns`;
  }
  if (group === undefined) return `columns that share a scale of ${format}`;
  if (group >= cols || group % UNIT === 0) return undefined;
  return `groups of a multiple of ${UNIT} columns or of the whole row, not of ${group}`;
}

/** `count` rows of a file as they lie on the device. Plain rows stay as they are, so they must need no padding. */
export function packRows(
  row: RowFormat,
  cols: number,
  file: FileRows,
  count: number,
): Uint8Array<ArrayBuffer> {
  const parts = partsOf(row, cols);
  const out = new Uint32Array(count * parts.words);
  const q = new Uint8Array(unitsOf(cols) * UNIT);
  const bytes = new Uint8Array(out.buffer);
  const block = blockFormat(row.format);
  for (let r = 0; r < count; r++) {
    if (block === undefined) packGroups(row.format, parts, cols, file, r, q, out);
    else packBlocks(block, parts, cols, file.values, r, q, bytes);
    let from = 0;
    for (const { bits, at } of parts.planes) {
      writePlane(bits, from, q, out, r * parts.words + at);
      from += bits;
    }
  }
  return bytes;
}

function packBlocks(
  block: BlockFormat,
  parts: Parts,
  cols: number,
  file: Uint8Array,
  row: number,
  q: Uint8Array,
  out: Uint8Array,
): void {
  const scales = new Uint8Array(block.streams.reduce((sum, bytes) => sum + bytes, 0));
  const blocks = cols / block.cols;
  for (let b = 0; b < blocks; b++) {
    block.split(file, (row * blocks + b) * block.bytes, q, b * block.cols, scales);
    let from = 0;
    for (const { bytes, at } of parts.streams) {
      const to = (row * parts.words + at) * 4 + b * bytes;
      for (let i = 0; i < bytes; i++) out[to + i] = scales[from + i];
      from += bytes;
    }
  }
}

function packGroups(
  format: WeightFormat,
  parts: Parts,
  cols: number,
  { values, scales, zeros }: FileRows,
  row: number,
  q: Uint8Array,
  out: Uint32Array,
): void {
  const kind = groupFormat(format);
  if (kind.plane === 8) q.set(values.subarray(row * cols, (row + 1) * cols));
  else {
    const at = row * Math.ceil(cols / 2);
    for (let c = 0; c < cols; c++) q[c] = (values[at + (c >> 1)] >>> (4 * (c & 1))) & 15;
  }
  const groups = Math.ceil(cols / parts.blockCols);
  const to = row * parts.words + parts.streams[0].at;
  for (let g = 0; g < groups; g++) {
    out[to + g] = kind.word(scales?.[row * groups + g] ?? 1, zeros?.[row * groups + g] ?? 8);
  }
}

/**
 * Decodes a row of the device, from byte `begin` of `bytes`, into `out[0 .. padRow(cols))`: f32 values, rounded as ggml
 * rounds them. What follows the last column is zero.
 */
export function decodeRow(
  row: RowFormat,
  cols: number,
  bytes: Uint8Array,
  begin: number,
  out: Float64Array | Float32Array,
): void {
  if (isPlain(row.format)) {
    decodeWeights(row.format, bytes.subarray(begin), 0, padRow(cols), out);
    return;
  }
  const parts = partsOf(row, cols);
  const aligned = (bytes.byteOffset + begin) % 4 === 0 ? bytes : bytes.slice(begin);
  const at = aligned === bytes ? bytes.byteOffset + begin : 0;
  const words = new Uint32Array(aligned.buffer, at, parts.words);
  const q = new Uint8Array(unitsOf(cols) * UNIT);
  let to = 0;
  for (const plane of parts.planes) {
    readPlane(plane.bits, to, words, plane.at, q);
    to += plane.bits;
  }
  const affine = { scale: 0, shift: 0, zero: 0 };
  const block = blockFormat(row.format);
  const { levels } = block ?? groupFormat(row.format);
  const streams = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  const scales = new Uint8Array(16 + 16);
  out.fill(0, cols, padRow(cols));
  for (let c = 0; c < cols; c += 16) {
    const b = Math.floor(c / parts.blockCols);
    if (block === undefined) groupFormat(row.format).affine(words[parts.streams[0].at + b], affine);
    else {
      if (c % block.cols === 0) gather(parts, streams, b, scales);
      block.affine(scales, (c % block.cols) / 16, affine);
    }
    decode16(levels, q, c, Math.min(16, cols - c), affine, out);
  }
}

/** The bytes of block `b` of every stream, one after another. */
function gather(parts: Parts, row: Uint8Array, b: number, scales: Uint8Array): void {
  let to = 0;
  for (const { bytes, at } of parts.streams) {
    for (let i = 0; i < bytes; i++) scales[to + i] = row[at * 4 + b * bytes + i];
    to += bytes;
  }
}

function decode16(
  levels: Float64Array,
  q: Uint8Array,
  at: number,
  count: number,
  { scale, shift, zero }: Affine & { zero: number },
  out: Float64Array | Float32Array,
): void {
  for (let i = at; i < at + count; i++) {
    out[i] = Math.fround(Math.fround((levels[q[i]] - zero) * scale) + shift);
  }
}
