/** The reference of the linear kernels, in double precision. */
import { buffersMatrix } from './buffers.ts';
import { UNUSED } from './expert_tiles.ts';
import { stored } from './half_results.ts';
import type { ReferenceIo } from './kernel.ts';
import { type LinearParams, sharedRows, xRows } from './linear.ts';
import { isRope } from './linear_out.ts';
import { ropeStore } from './linear_rope.ts';
import { chooseExperts } from './routing.ts';
import { partColumns, splitRows } from './split_k.ts';

/** Which x row and result row each item has, by expert. */
function itemsByExpert(p: LinearParams, io: ReferenceIo): Map<number, { x: number; y: number }[]> {
  const items = new Map<number, { x: number; y: number }[]>();
  if (p.source.kind === 'routed') {
    for (let x = 0; x < xRows(p); x++) {
      const { routing } = p.source;
      const { experts } = chooseExperts(routing, io, x);
      if (sharedRows(p.source) > 0) experts.push(routing.experts);
      experts.forEach((expert, i) => {
        items.set(expert, [...(items.get(expert) ?? []), { x, y: x * experts.length + i }]);
      });
    }
    return items;
  }
  if (p.source.kind !== 'grouped') {
    const picks = p.source.kind === 'picked' ? io.u('picks') : undefined;
    items.set(
      0,
      Array.from({ length: p.tokens }, (_, y) => ({ x: picks?.[y] ?? y, y })),
    );
    return items;
  }
  const tiles = io.u('tiles');
  const pairs = io.u('pairs');
  for (let tile = 0; tile < p.source.maxTiles; tile++) {
    const [expert, begin, count] = tiles.subarray(tile * 4, tile * 4 + 3);
    if (expert === UNUSED) continue;
    const list = items.get(expert) ?? [];
    for (const pair of pairs.subarray(begin, begin + count))
      list.push({ x: Math.floor(pair / p.source.perX), y: pair });
    items.set(expert, list);
  }
  return items;
}

/** `y = out(norm(x) Wᵀ)` in double precision. */
export function linearReference(p: LinearParams, io: ReferenceIo): void {
  const x = io.f('x');
  const w = buffersMatrix(p.buffers, p.shard.rowCount, io);
  const gamma = p.norm === 'rms' ? io.f('gamma') : undefined;
  const { expertBegin, expertCount, rowBegin, rowCount } = p.shard;
  const row = new Float64Array(w.cols);
  const from = p.splitK?.from ?? Number.POSITIVE_INFINITY;
  for (const [expert, items] of itemsByExpert(p, io)) {
    if (expert < expertBegin || expert >= expertBegin + expertCount) continue;
    const inputs = items.map((item) => normalised(x, item.x * p.xStride, p.K, gamma, p.eps));
    const outputs = items.map((item) => resultStore(p, io, item.y));
    const isShared = p.source.kind === 'routed' && expert === p.source.routing.experts;
    for (let r = 0; r < (isShared ? sharedRows(p.source) : rowCount); r++) {
      w.row((expert - expertBegin) * rowCount + r, row);
      for (const [i, { y }] of items.entries()) {
        if (r >= from) partsStore(p, io, y, r, inputs[i], row);
        else outputs[i](rowBegin + r, dot(inputs[i], row, 0, p.K));
      }
    }
  }
}

/** Columns begin .. end - 1 of a row of x times those of a row of w. */
function dot(x: Float64Array, w: Float64Array, begin: number, end: number): number {
  let sum = 0;
  for (let k = begin; k < end; k++) sum += x[k] * w[k];
  return sum;
}

/** Stores the sums of parts of the columns of row r of w, which are split; of the last row, in the padding too. */
function partsStore(
  p: LinearParams,
  io: ReferenceIo,
  y: number,
  r: number,
  input: Float64Array,
  row: Float64Array,
): void {
  if (p.splitK === undefined) return;
  const { from, parts } = p.splitK;
  const to = io.f('parts');
  const columns = partColumns(p.K, parts);
  const stride = splitRows(p.shard.rowCount, p.splitK);
  const end = r === p.shard.rowCount - 1 ? stride : r - from + 1;
  for (let part = 0; part < parts; part++) {
    const sum = dot(input, row, part * columns, Math.min(p.K, (part + 1) * columns));
    const at = (part * p.tokens + y) * stride;
    to.fill(sum, at + r - from, at + end);
  }
}

/** Results of what {@link linearReference} has left in parts. */
export function joinReference(p: LinearParams, io: ReferenceIo): void {
  if (p.splitK === undefined) return;
  const { from, parts } = p.splitK;
  const sums = io.f('parts');
  const stride = splitRows(p.shard.rowCount, p.splitK);
  for (let y = 0; y < p.tokens; y++) {
    const store = resultStore(p, io, y);
    for (let r = from; r < p.shard.rowCount; r++) {
      let sum = 0;
      for (let part = 0; part < parts; part++) sum += sums[(part * p.tokens + y) * stride + r - from];
      store(p.shard.rowBegin + r, sum);
    }
  }
}

/** What is done with the sums of result row `row`, which come in the order of their rows n of w. */
function resultStore(p: LinearParams, io: ReferenceIo, row: number): (n: number, sum: number) => void {
  const y = io.f('y');
  const at = row * p.yStride;
  if (isRope(p.out) && p.rope !== undefined) return ropeStore(p.out, p.rope, io, row, at);
  let gate = 0;
  return (n, sum) => {
    if (p.out === 'add') y[at + n] += sum;
    else if (p.out !== 'swiglu') y[at + n] = sum;
    else if (n % 2 === 0) gate = sum;
    else y[at + (n - 1) / 2] = stored(p, swiglu(gate, sum, p.limit ?? 0));
  };
}

/** silu(gate) ⊙ up; a limit other than 0 bounds the first factor above (after silu) and the second on both sides. */
function swiglu(gate: number, up: number, limit: number): number {
  const silu = gate / (1 + Math.exp(-gate));
  return limit === 0 ? silu * up : Math.min(silu, limit) * Math.max(-limit, Math.min(up, limit));
}

/** Row of x from element `at`, RMS-normalised when `gamma` is given. */
function normalised(
  x: Float64Array,
  at: number,
  K: number,
  gamma: Float64Array | undefined,
  eps: number,
): Float64Array {
  const row = x.slice(at, at + K);
  if (gamma === undefined) return row;
  let squares = 0;
  for (const value of row) squares += value * value;
  const scale = 1 / Math.sqrt(squares / K + eps);
  for (let k = 0; k < K; k++) row[k] *= scale * gamma[k];
  return row;
}
