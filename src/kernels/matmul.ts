/** Linear layer for many tokens: tiles of 64 tokens x 64 rows through workgroup memory. */
import { KernelError } from '../errors.ts';
import { formatShapes } from './format_cases.ts';
import { defineKernel, type Kernel, PLAIN } from './kernel.ts';
import {
  dense,
  grouped,
  type LinearParams,
  linearBindings,
  linearCheck,
  linearConstants,
  linearCost,
  linearGrid,
  linearInputs,
  linearLibs,
  linearUniforms,
  rowGroups,
} from './linear.ts';
import { linearBench } from './linear_bench.ts';
import { fusedQkv, queryHeads } from './linear_cases.ts';
import { linearReference } from './linear_reference.ts';

/** Tokens of a tile; fixed by the text. */
export const MATMUL_TILE = 64;

/** Rows of weights of a tile; fixed by the text. */
export const MATMUL_ROWS = 64;

export const matmul: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matmul',
  summary: 'y = out(x Wᵀ) for many tokens; SwiGLU and residual folded in; dense, picked rows or experts',
  variants: [PLAIN],
  libs: (p) => linearLibs(p, false),
  check(p) {
    linearCheck('matmul', p);
    if (p.norm !== 'none')
      throw new KernelError('matmul', `norm: expected none (rmsnorm runs before), got ${p.norm}`);
    if (p.tile !== MATMUL_TILE)
      throw new KernelError('matmul', `tile: expected ${MATMUL_TILE}, got ${p.tile}`);
  },
  constants: linearConstants,
  uniforms: linearUniforms,
  bindings: linearBindings,
  workgroups: (p) => linearGrid(p, rowGroups(p, MATMUL_ROWS)),
  reference: linearReference,
  cost: linearCost,
  tolerance: { abs: 5e-5, rel: 5e-5, cosine: 1e-9 },
  inputs: linearInputs,
  shapes: {
    test: [
      { name: 'one token, one row', params: dense(1, 1, 1, { tile: 64 }) },
      { name: 'exactly one tile', params: dense(128, 16, 64, { tile: 64 }) },
      { name: 'one over a tile each way', params: dense(129, 17, 65, { tile: 64, format: 'f32' }) },
      { name: 'one under a tile each way', params: dense(127, 15, 63, { tile: 64, format: 'f16' }) },
      { name: 'odd number of blocks', params: dense(40, 72, 20, { tile: 64 }) },
      { name: 'residual', params: dense(30, 50, 70, { tile: 64, out: 'add' }) },
      { name: 'swiglu', params: dense(2 * 45, 64, 66, { tile: 64, out: 'swiglu' }) },
      {
        name: 'wide x, picked rows',
        params: dense(20, 24, 9, { tile: 64, xStride: 64, source: { kind: 'picked', sourceRows: 30 } }),
      },
      { name: 'query heads of 12', params: queryHeads(6, 12, 24, 66, { tile: 64 }) },
      { name: 'query, key and value', params: fusedQkv(24, 36, 'f16', 40, 70, { tile: 64 }) },
      { name: 'experts, tokens in', params: grouped(5, 2 * 20, 48, 200, 2, 64, { out: 'swiglu' }) },
      { name: 'experts, pairs in', params: grouped(5, 70, 40, 150, 1, 64, { format: 'f32' }) },
      {
        name: 'experts 1..2 of 4 in this shard',
        params: grouped(4, 24, 40, 130, 1, 64, {
          shard: { expertBegin: 1, expertCount: 2, rowBegin: 0, rowCount: 24 },
        }),
      },
      ...formatShapes(66, 64),
    ],
    bench: linearBench(MATMUL_TILE, MATMUL_TILE, 'none'),
  },
});
