/** Weights as kernels bind them: bindings, library files and constants of every format. */
import { isPlain, type RowFormat, rowFault } from '../formats/index.ts';
import { type PlainFormat, padRow, type WeightFormat } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import { type Buffers, buffersLib } from './buffers.ts';
import type { BindingSpec } from './kernel.ts';

const FETCH: readonly WgslName[] = ['lib/fetch_1', 'lib/fetch_2', 'lib/fetch_3', 'lib/fetch_4'];

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

/** What decodes a compressed format. */
function formatLibs(format: Exclude<WeightFormat, PlainFormat>): WgslName[] {
  return [`lib/weight_${format}`, ...(format === 'fp8' ? (['lib/e4m3'] as const) : [])];
}

/** Library files for kernels that read blocks of 8 columns (`load_weight8`). */
export function blockLibs({ format }: RowFormat): WgslName[] {
  if (isPlain(format)) return [`lib/weight_${format}`];
  return [...formatLibs(format), 'lib/units', 'lib/fetch_1', 'lib/share_none'];
}

/** Library files for matvec, which walks the columns in steps of the format. */
export function walkLibs({ format }: RowFormat, buffers: Buffers): WgslName[] {
  if (isPlain(format)) return [`lib/weight_${format}`, buffersLib(buffers), 'lib/walk_blocks'];
  return [...unitLibs(format, buffers), 'lib/share_none', 'lib/walk_units'];
}

/** Library files for moe_down, which has a second matrix. */
export function downLibs({ format }: RowFormat, buffers: Buffers): WgslName[] {
  if (isPlain(format)) return [`lib/weight_${format}`, buffersLib(buffers), 'lib/down_blocks'];
  return [...unitLibs(format, buffers), 'lib/norm_none', 'lib/down_units'];
}

function unitLibs(format: Exclude<WeightFormat, PlainFormat>, buffers: Buffers): WgslName[] {
  const count = buffers?.length ?? 1;
  const rows = count === 1 ? 'lib/unit_rows_1' : 'lib/unit_rows';
  return [...formatLibs(format), 'lib/units', FETCH[count - 1], rows, 'lib/unit_dot'];
}
