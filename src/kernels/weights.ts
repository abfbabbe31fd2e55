/** Weights as kernels bind them: bindings, library files and constants of every format. */
import { KernelError } from '../errors.ts';
import { isPlain, type RowFormat, rowFault } from '../formats/index.ts';
import { ceilDiv, type PlainFormat, padRow, type WeightFormat } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { type Buffers, buffersLib } from './buffers.ts';
import type { BindingSpec } from './kernel.ts';

const FETCH: readonly WgslName[] = [
  'lib/fetch_1',
  'lib/fetch_2',
  'lib/fetch_3',
  'lib/fetch_4',
  'lib/fetch_5',
];

/** What is wrong with rows of `cols` columns in this format, or undefined. */
export function weightFault(row: RowFormat, cols: number): string | undefined {
  const fault = rowFault(row, cols);
  return fault === undefined ? undefined : `format: expected ${fault}, got ${cols} columns of ${row.format}`;
}

/** The binding of a matrix `[rows, cols]`. */
export function weightBinding({ format, group }: RowFormat, rows: number, cols: number): BindingSpec {
  return { type: format, group, dims: [rows, padRow(cols)], cols, use: 'in', weight: true };
}

/** Constants of the library files. */
export function weightConstants({ format, group }: RowFormat): Record<string, number> {
  return (format === 'fp8' || format === 'int4') && group !== undefined ? { GROUP: group } : {};
}

type Compressed = Exclude<WeightFormat, PlainFormat>;

/**
 * Where kernels find the levels that integers of some formats choose: computed for each, or in workgroup memory, which takes
 * half of the instructions on GPUs and twice the time on processors.
 */
export type Levels = 'computed' | 'memory';

/** Whether the integers of a format choose among levels. */
export function choosesLevels(format: WeightFormat): boolean {
  return format === 'iq4_nl' || format === 'iq4_xs';
}

/** What decodes a compressed format. */
function formatLibs(format: Compressed, levels: Levels = 'computed'): WgslName[] {
  return [
    `lib/weight_${format}`,
    ...(format === 'fp8' ? (['lib/e4m3'] as const) : []),
    ...(choosesLevels(format) ? (['lib/levels_iq4', `lib/levels_${levels}`] as const) : []),
  ];
}

/** Library files for kernels that read blocks of 8 columns (`load_weight8`). */
export function blockLibs({ format }: RowFormat): WgslName[] {
  if (isPlain(format)) return [`lib/weight_${format}`];
  return [...formatLibs(format), 'lib/units', 'lib/fetch_1', 'lib/share_none'];
}

/** Files that give the integers of a compressed format as signed bytes; formats without one have no such integers. */
const BYTES: Partial<Record<RowFormat['format'], WgslName>> = {
  int4: 'lib/bytes_4',
  q2_k: 'lib/bytes_2',
  q3_k: 'lib/bytes_3',
  q4_0: 'lib/bytes_4',
  q4_1: 'lib/bytes_4',
  q4_k: 'lib/bytes_4',
  q5_0: 'lib/bytes_5',
  q5_1: 'lib/bytes_5',
  q5_k: 'lib/bytes_5',
  q6_k: 'lib/bytes_6',
  q8_0: 'lib/bytes_8',
};

/** Whether the weights of a format are integers that fit into signed bytes. */
export function hasBytes(format: WeightFormat): boolean {
  return BYTES[format] !== undefined;
}

/** Library files for matvec, which walks the columns in steps of the format. */
export function walkLibs({ format }: RowFormat, buffers: Buffers): WgslName[] {
  if (isPlain(format)) return [`lib/weight_${format}`, buffersLib(buffers), 'lib/walk_blocks'];
  const one = (buffers?.length ?? 1) === 1;
  const rows: WgslName[] = one ? ['lib/unit_rows_1'] : ['lib/quads', 'lib/unit_rows'];
  return [...unitLibs(format, buffers), ...rows, 'lib/unit_dot', 'lib/walk_units', 'lib/share_none'];
}

/** Library files for moe_down, which has a second matrix; `bytes`: as of {@link ownLibs}. */
export function downLibs(
  { format }: RowFormat,
  buffers: Buffers,
  bytes: boolean,
  levels: Levels,
): WgslName[] {
  if (isPlain(format)) {
    return [`lib/weight_${format}`, 'lib/levels_none', buffersLib(buffers), 'lib/down_blocks'];
  }
  return [...productLibs(format, buffers, bytes, levels), 'lib/norm_none', 'lib/down_units'];
}

/**
 * Library files for matvec_units; `bytes`: whether the adapter multiplies bytes that are packed in words.
 *
 * @throws KernelError for formats that are not compressed.
 */
export function ownLibs({ format }: RowFormat, buffers: Buffers, bytes: boolean, levels: Levels): WgslName[] {
  if (isPlain(format))
    throw new KernelError('matvec_units', `format: expected a compressed one, got ${format}`);
  return [...productLibs(format, buffers, bytes, levels), 'lib/share_none'];
}

/** Library files that multiply units of several rows with x, as bytes where the format is integers and `bytes` is given. */
function productLibs(format: Compressed, buffers: Buffers, bytes: boolean, levels: Levels): WgslName[] {
  const lib = bytes ? BYTES[format] : undefined;
  const products: WgslName[] = lib === undefined ? ['lib/unit_floats'] : ['lib/unit_bytes', lib];
  return [...quadLibs(format, buffers, levels), ...products];
}

/** Library files that hold x of a unit in registers, for several rows of weights. */
function quadLibs(format: Compressed, buffers: Buffers, levels: Levels): WgslName[] {
  const none: WgslName[] = choosesLevels(format) && levels === 'memory' ? [] : ['lib/levels_none'];
  return [...unitLibs(format, buffers, levels), ...none, 'lib/quads', 'lib/unit_slots'];
}

/** What loads units of a compressed format. */
function unitLibs(format: Compressed, buffers: Buffers, levels?: Levels): WgslName[] {
  return [...formatLibs(format, levels), 'lib/units', FETCH[(buffers?.length ?? 1) - 1]];
}

/** Most invocations of a workgroup on any adapter. */
const MOST_INVOCATIONS = 256;

/**
 * Invocations of a workgroup over `units` units of 32 columns: one for each, in whole subgroups of 32, if there may be so many;
 * else those of `long` that leave fewest idle, the first of equals.
 */
export function unitWorkgroup(units: number, long: readonly number[]): number {
  if (units <= MOST_INVOCATIONS) return ceilDiv(units, 32) * 32;
  const taken = (size: number) => ceilDiv(units, size) * size;
  return long.reduce((best, size) => (taken(size) < taken(best) ? size : best));
}
