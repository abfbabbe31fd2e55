/** Adds up the sums that matmul_matrix has made of parts of the columns, and does with them what the layer asks for. */
import { KernelError } from '../errors.ts';
import { ceilDiv } from '../tensor.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import { dense, type LinearParams, linearBindings, linearCheck, linearInputs, resultCost } from './linear.ts';
import { fusedQkv, queryHeads } from './linear_cases.ts';
import { outConstants, outLibs, yLib } from './linear_out.ts';
import { joinReference } from './linear_reference.ts';
import { partsBinding, type SplitK, splitRows } from './split_k.ts';

/** Invocations of a workgroup, each of which makes four results of a token; fixed by the text. */
export const JOIN_WG = 64;

/** What is split; there is nothing to join where nothing is. */
function given(p: LinearParams): SplitK {
  if (p.splitK === undefined)
    throw new KernelError('matmul_join', 'splitK: expected columns in parts, got none');
  return p.splitK;
}

/** Fours of rows whose columns are split. */
const quads = (p: LinearParams): number => splitRows(p.shard.rowCount, given(p)) / 4;

/** A dense layer whose rows from `from` on are split. */
const split = (
  N: number,
  K: number,
  tokens: number,
  from: number,
  parts: number,
  rest: Partial<LinearParams> = {},
): LinearParams => dense(N, K, tokens, { tile: 64, splitK: { from, parts }, ...rest });

export const matmul_join: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matmul_join',
  summary: 'y = out(Σ parts) of products whose columns matmul_matrix has split',
  variants: [PLAIN],
  libs: (p) => [...outLibs(p), yLib(p)],
  check(p) {
    given(p);
    linearCheck('matmul_join', p);
  },
  constants: (p) => ({ ...outConstants(p), PARTS: given(p).parts, QUADS: quads(p) }),
  uniforms: (p) => ({
    tokens: p.tokens,
    row_begin: p.shard.rowBegin,
    row_count: p.shard.rowCount,
    y_stride: p.yStride,
    row_from: given(p).from,
  }),
  bindings(p) {
    const { w: _w, x: _x, picks: _picks, ...results } = linearBindings(p);
    return { ...results, parts: partsBinding(p.tokens, p.shard.rowCount, given(p), 'in') };
  },
  workgroups: (p) => [ceilDiv(quads(p), JOIN_WG), p.tokens, 1],
  reference: joinReference,
  cost(p) {
    const { from, parts } = given(p);
    const rows = p.shard.rowCount - from;
    const shard = { ...p.shard, rowBegin: p.shard.rowBegin + from, rowCount: rows };
    const out = resultCost({ ...p, shard });
    return {
      flops: parts * p.tokens * rows + out.flops, // one addition per part
      bytesRead: parts * p.tokens * rows * 4 + out.bytesRead, // sums
      bytesWritten: out.bytesWritten,
    };
  },
  tolerance: { abs: 1e-5, rel: 1e-5, cosine: 1e-10 },
  inputs: linearInputs,
  shapes: {
    test: [
      { name: 'one token, one row', params: split(129, 128, 1, 128, 2) },
      { name: 'all rows, one over a workgroup', params: split(257, 320, 3, 0, 5) },
      { name: 'residual', params: split(134, 128, 2, 128, 2, { out: 'add' }) },
      { name: 'swiglu, bounded', params: split(2 * 35, 192, 2, 64, 3, { out: 'swiglu', limit: 0.5 }) },
      { name: 'swiglu, as f16', params: split(2 * 48, 192, 3, 64, 3, { out: 'swiglu', half: true }) },
      {
        name: 'a shard of rows',
        params: split(80, 128, 2, 0, 2, {
          shard: { expertBegin: 0, expertCount: 1, rowBegin: 40, rowCount: 30 },
        }),
      },
      {
        name: 'picked rows',
        params: split(20, 128, 3, 0, 2, { source: { kind: 'picked', sourceRows: 7 } }),
      },
      { name: 'query heads of 16', params: queryHeads(3, 16, 128, 2, { splitK: { from: 16, parts: 2 } }) },
      {
        name: 'query, key and value, f16',
        params: fusedQkv(40, 36, 'f16', 192, 3, { splitK: { from: 32, parts: 3 } }),
      },
      {
        name: 'key and value by rows',
        params: fusedQkv(24, 16, 'rows', 128, 2, { splitK: { from: 24, parts: 2 } }),
      },
    ],
    bench: [
      { name: '1536 of 18432 rows, 256 tokens', params: split(18432, 7168, 256, 16896, 11), set: 'real' },
      { name: '2560 rows, 64 tokens', params: split(2560, 7168, 64, 0, 4), set: 'real' },
      {
        name: '7168 rows, 256 tokens, residual',
        params: split(7168, 16384, 256, 0, 2, { out: 'add' }),
        set: 'real',
      },
      { name: '896 rows, 64 tokens', params: split(896, 2304, 64, 0, 4, { out: 'add' }), set: 'small' },
    ],
  },
});
