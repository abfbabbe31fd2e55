/** Linear layer for few tokens: reads every weight once per tile of tokens. */
import { defineKernel, type Kernel, SUBGROUP_TEAM, WORKGROUP_TEAM } from './kernel.ts';
import {
  dense,
  grouped,
  type LinearParams,
  linearBindings,
  linearCheck,
  linearConstants,
  linearCost,
  linearInputs,
  linearLibs,
  linearReference,
  linearUniforms,
  linearWorkgroups,
} from './linear.ts';

const WORKGROUP = 64;
const ROWS_PER_TEAM = 4;

export const matvec: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matvec',
  summary:
    'y = out(norm(x) Wᵀ) for few tokens; RMSNorm, SwiGLU and residual folded in; dense, picked rows or experts',
  variants: [SUBGROUP_TEAM, WORKGROUP_TEAM],
  libs: (p) => linearLibs(p, true),
  check: (p) => linearCheck('matvec', p),
  constants: (p) => ({ WG: WORKGROUP, TOKENS: p.tile, ...linearConstants(p) }),
  uniforms: (p) => ({ ...linearUniforms(p), eps: p.eps }),
  bindings: linearBindings,
  workgroups: (p, team) => linearWorkgroups(p, Math.max(1, Math.floor(WORKGROUP / team)) * ROWS_PER_TEAM),
  reference: linearReference,
  cost: linearCost,
  tolerance: { abs: 2e-5, rel: 2e-5, cosine: 1e-9 },
  inputs: linearInputs,
  shapes: {
    test: [
      { name: 'one row, one block', params: dense(1, 8, 1) },
      { name: 'one row, less than a block', params: dense(1, 3, 1) },
      { name: 'rows not a multiple of 4, columns not of 8', params: dense(13, 70, 1, { format: 'f32' }) },
      { name: 'single iteration of every lane', params: dense(64, 256, 1) },
      { name: 'one block over an iteration', params: dense(65, 264, 1, { format: 'f16' }) },
      { name: 'norm, partial block', params: dense(30, 100, 1, { norm: 'rms' }) },
      {
        name: 'norm, two tiles of 4 tokens, last partial',
        params: dense(20, 192, 7, { norm: 'rms', tile: 4 }),
      },
      { name: 'tile of 8', params: dense(33, 96, 8, { tile: 8, format: 'f32' }) },
      { name: 'residual', params: dense(21, 40, 3, { out: 'add', tile: 2 }) },
      {
        name: 'swiglu, odd width',
        params: dense(2 * 11, 64, 2, { out: 'swiglu', norm: 'rms', format: 'f32' }),
      },
      { name: 'x rows wider than K', params: dense(10, 24, 3, { xStride: 96, tile: 4 }) },
      {
        name: 'middle shard of rows',
        params: dense(48, 32, 2, { shard: { expertBegin: 0, expertCount: 1, rowBegin: 16, rowCount: 19 } }),
      },
      {
        name: 'picked rows',
        params: dense(17, 64, 3, { source: { kind: 'picked', sourceRows: 9 }, norm: 'rms' }),
      },
      {
        name: 'experts, tokens in',
        params: grouped(6, 2 * 20, 64, 10, 2, 4, { out: 'swiglu', norm: 'rms' }),
      },
      { name: 'experts, pairs in', params: grouped(6, 33, 40, 12, 1, 1, { format: 'f16' }) },
      {
        name: 'experts 2..4 of 6 in this shard',
        params: grouped(6, 24, 40, 30, 3, 4, {
          shard: { expertBegin: 2, expertCount: 3, rowBegin: 0, rowCount: 24 },
        }),
      },
      {
        name: 'half of the rows of one expert in this shard',
        params: grouped(3, 24, 16, 9, 1, 4, {
          shard: { expertBegin: 1, expertCount: 1, rowBegin: 8, rowCount: 16 },
        }),
      },
    ],
    bench: [
      { name: 'qkv 2560x7168', params: dense(2560, 7168, 1, { norm: 'rms' }) },
      { name: 'wq 16384x2048', params: dense(16384, 2048, 1, { norm: 'rms' }) },
      { name: 'o_proj 7168x16384', params: dense(7168, 16384, 1, { out: 'add' }) },
      { name: 'dense gate/up 36864x7168', params: dense(36864, 7168, 1, { norm: 'rms', out: 'swiglu' }) },
      { name: 'dense down 7168x18432', params: dense(7168, 18432, 1, { out: 'add' }) },
      { name: 'lm_head 128815x7168', params: dense(128815, 7168, 1, { norm: 'rms' }) },
    ],
  },
});
