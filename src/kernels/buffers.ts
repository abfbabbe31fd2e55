/** Experts whose weights lie in several buffers of one dispatch: what the kernels that allow it share. */
import type { RowFormat } from '../formats/index.ts';
import type { WgslName } from '../wgsl/generated.ts';
import type { BindingSpec, Matrix, ReferenceIo } from './kernel.ts';
import { weightBinding } from './weights.ts';

/** WGSL names of the buffers. */
export const BUFFER_NAMES = ['w', 'w1', 'w2', 'w3', 'w4'] as const;

const LIBS: readonly WgslName[] = [
  'lib/buffers_1',
  'lib/buffers_2',
  'lib/buffers_3',
  'lib/buffers_4',
  'lib/buffers_5',
];

/** How many experts each bound buffer holds: all but the last the same number. Absent: one buffer, `w`. */
export type Buffers = readonly number[] | undefined;

/** What is wrong with the buffers of `experts` experts, or undefined. */
export function buffersFault(buffers: Buffers, experts: number): string | undefined {
  if (buffers === undefined) return undefined;
  const count = buffers.length;
  const each = buffers[0];
  const even = buffers.every((n, i) => (i < count - 1 ? n === each : n >= 1 && n <= each));
  const sum = buffers.reduce((a, b) => a + b, 0);
  if (count >= 1 && count <= BUFFER_NAMES.length && even && sum === experts) return undefined;
  return `buffers: expected 1 to ${BUFFER_NAMES.length} equal parts of ${experts} experts (the last may be smaller), got ${JSON.stringify(buffers)}`;
}

/** The library file that loads from them. */
export function buffersLib(buffers: Buffers): WgslName {
  return LIBS[(buffers?.length ?? 1) - 1];
}

/** Its constants. */
export function buffersConstants(buffers: Buffers): Record<string, number> {
  return buffers === undefined || buffers.length === 1 ? {} : { BUFFER_EXPERTS: buffers[0] };
}

/** Bindings `[experts * rows, padRow(cols)]` of the buffers; `lastRows`: of the last one, unless 0. */
export function buffersBindings(
  buffers: Buffers,
  experts: number,
  row: RowFormat,
  rows: number,
  cols: number,
  lastRows = 0,
): Record<string, BindingSpec> {
  const counts = (buffers ?? [experts]).map((count) => count * rows);
  if (lastRows > 0) counts[counts.length - 1] = lastRows;
  return Object.fromEntries(counts.map((count, i) => [BUFFER_NAMES[i], weightBinding(row, count, cols)]));
}

/** All of them as one matrix `[experts * rows, padRow(cols)]`, of which the last buffer may have more. */
export function buffersMatrix(buffers: Buffers, rows: number, io: ReferenceIo): Matrix {
  const parts = (buffers ?? [0]).map((_, i) => io.m(BUFFER_NAMES[i]));
  const each = (buffers?.[0] ?? Number.POSITIVE_INFINITY) * rows;
  const first = parts[0];
  return {
    rows: parts.reduce((sum, part) => sum + part.rows, 0),
    cols: first.cols,
    row(r, out) {
      const part = parts.length === 1 ? 0 : Math.min(Math.floor(r / each), parts.length - 1);
      parts[part].row(part === 0 ? r : r - part * each, out);
    },
  };
}
