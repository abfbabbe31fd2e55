/** Linear layer for few tokens: reads every weight once per tile of tokens. */
import { isPlain } from '../formats/index.ts';
import { ceilDiv } from '../tensor.ts';
import { formatBench, formatShapes, formatVariants } from './format_cases.ts';
import {
  defineKernel,
  type Kernel,
  LARGE_SUBGROUP_TEAM,
  SMALL_SUBGROUP,
  SMALL_SUBGROUP_TEAM,
  type Variant,
  WORKGROUP_TEAM,
} from './kernel.ts';
import {
  dense,
  grouped,
  type LinearParams,
  LONG_COLUMNS,
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
import { fusedQkv, queryHeads, routed, routedAndShared } from './linear_cases.ts';
import { keepLibs } from './linear_out.ts';
import { linearReference } from './linear_reference.ts';
import { walkLibs } from './weights.ts';

/** Rows of a group, fixed by the text: as many share each load of x and gamma. */
export const GROUP_ROWS = 4;

/** Every team has rows of its own. */
const SMALL = { WG: 64, GROUPS: 8 } as const;

/** For adapters with small subgroups. */
const SMALL_TEAM: Variant = { ...SMALL_SUBGROUP_TEAM, constants: SMALL };

/** Members of a team in what follows, and invocations of most workgroups. */
const TEAM = 32;
const WORKGROUP = 128;

/** Teams that keep a large GPU busy, and more than it holds at a time. */
const BUSY = 2560;
const WAVE = 4224;

/** The first of tiles of four tokens, whose sums take more registers. */
const BUSY_TILES = 4096;

/**
 * Blocks of 8 columns that more than two teams share of several tokens, more than four of one, and eight of one, however
 * many rows there are; and that more than two share of an expert.
 */
const LONG_BLOCKS = { several: 128, one: 512, always: 2048, expert: LONG_COLUMNS / 8 } as const;

/** Fours of rows up to which, as in a router, what a workgroup has to do is what takes time, and not how many there are. */
const FEW_FOURS = 256;

/**
 * Teams that share the columns of four rows of 16-bit or f32 weights: no more than it takes to be busy, since sharing costs
 * additions and barriers; but where not all fit at a time, two, so that the last ones are done sooner. Experts that are chosen
 * on the spot have two too, or four of long rows, which hides that choosing takes time; those whose tokens are grouped one, or
 * two of long rows and many tokens. Found by measurement.
 */
function sharing(p: LinearParams): number {
  const blocks = ceilDiv(p.K, 8);
  const fours = ceilDiv(p.shard.rowCount, GROUP_ROWS);
  const least = (busy: number, most: number): number => {
    const teams = [1, 2, 4].find((count) => count * fours >= busy) ?? 8;
    return Math.min(teams, most, 2 ** Math.ceil(Math.log2(ceilDiv(blocks, TEAM))));
  };
  if (p.source.kind === 'routed')
    return least(Number.POSITIVE_INFINITY, blocks >= LONG_BLOCKS.expert ? 4 : 2);
  if (p.source.kind === 'grouped') return p.tile > 2 && blocks >= LONG_BLOCKS.expert ? 2 : 1;
  if (p.tile <= 2 && fours > WAVE) return least(Number.POSITIVE_INFINITY, 2);
  if (p.tile === 1 && blocks >= LONG_BLOCKS.always) return 8;
  if (p.tile === 1) return least(BUSY, blocks >= LONG_BLOCKS.one ? 8 : 4);
  const most = fours <= FEW_FOURS && blocks >= LONG_BLOCKS.one ? 8 : blocks >= LONG_BLOCKS.several ? 4 : 2;
  return least(p.tile === 2 ? BUSY : BUSY_TILES, most);
}

/** How a workgroup is laid out: invocations, and groups of four rows. */
function layout(p: LinearParams): { WG: number; GROUPS: number } {
  if (!isPlain(p.format)) {
    const GROUPS = p.source.kind === 'routed' && p.K >= 2048 ? 8 : 2;
    return { WG: GROUPS * ceilDiv(p.K, 32) <= 128 || p.tile >= 4 ? 64 : 128, GROUPS };
  }
  const teams = sharing(p);
  // Workgroups of large tiles are small, since their sums take registers.
  const WG = teams > 2 ? teams * TEAM : teams === 1 && p.tile > 2 ? WORKGROUP / 2 : WORKGROUP;
  return { WG, GROUPS: teams > 2 ? 1 : WG / TEAM / teams };
}

export const matvec: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matvec',
  summary:
    'y = out(norm(x) Wᵀ) for few tokens; RMSNorm, SwiGLU and residual folded in; dense, picked rows or experts',
  variants: [LARGE_SUBGROUP_TEAM, SMALL_TEAM, WORKGROUP_TEAM],
  libs: (p) => [...linearLibs(p, true, walkLibs(p, p.buffers)), ...keepLibs(p)],
  check: (p) => linearCheck('matvec', p),
  constants: (p) => ({
    TOKENS: p.tile,
    ...layout(p),
    ...linearConstants(p),
  }),
  uniforms: (p) => ({ ...linearUniforms(p), eps: p.eps }),
  bindings: linearBindings,
  workgroups: (p, team) =>
    linearGrid(p, rowGroups(p, GROUP_ROWS * (team < SMALL_SUBGROUP ? SMALL : layout(p)).GROUPS)),
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
      { name: 'few long rows, norm', params: dense(9, 2200, 1, { norm: 'rms', format: 'f16' }) },
      { name: 'few long rows, residual, two tokens', params: dense(6, 1100, 2, { out: 'add', tile: 2 }) },
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
      { name: 'query heads of 4', params: queryHeads(3, 4, 24, 1) },
      { name: 'query heads of 16', params: queryHeads(5, 16, 40, 6, { norm: 'rms', tile: 4 }) },
      {
        name: 'query heads of 12, a middle shard',
        params: queryHeads(4, 12, 24, 3, {
          tile: 2,
          shard: { expertBegin: 0, expertCount: 1, rowBegin: 24, rowCount: 32 },
        }),
      },
      { name: 'query, key and value', params: fusedQkv(24, 16, 'f32', 70, 3, { norm: 'rms', tile: 4 }) },
      { name: 'query, key and value, head_dim 20, f16', params: fusedQkv(16, 20, 'f16', 48, 2) },
      {
        name: 'query, key and value, rows for kv_pack',
        params: fusedQkv(16, 12, 'rows', 40, 3, { tile: 4 }),
      },
      {
        name: 'query, key and value, the last shard',
        params: fusedQkv(16, 64, 'f16', 48, 5, {
          tile: 4,
          shard: { expertBegin: 0, expertCount: 1, rowBegin: 48, rowCount: 96 },
        }),
      },
      {
        name: 'experts, tokens in',
        params: grouped(6, 2 * 20, 64, 10, 2, 4, { out: 'swiglu', norm: 'rms' }),
      },
      {
        name: 'experts straight from logits',
        params: routed({ experts: 6, topK: 2, renormalise: false }, 2 * 11, 70, 3, {
          out: 'swiglu',
          norm: 'rms',
        }),
      },
      {
        name: 'experts straight from logits, long rows',
        params: routed({ experts: 5, topK: 2, renormalise: false }, 70, 2050, 1),
      },
      {
        name: 'experts 1..3 of 5 straight from logits',
        params: routed({ experts: 5, topK: 3, renormalise: true }, 24, 40, 4, {
          format: 'f16',
          shard: { expertBegin: 1, expertCount: 3, rowBegin: 0, rowCount: 24 },
        }),
      },
      {
        name: 'experts straight from sigmoid scores, limited activations',
        params: routed(
          { experts: 40, topK: 4, scoring: 'sigmoid', renormalise: true, scale: 3 },
          2 * 9,
          40,
          2,
          { out: 'swiglu', limit: 0.05, norm: 'rms' },
        ),
      },
      {
        name: 'experts straight from logits, 6 of 150',
        params: routed({ experts: 150, topK: 6, renormalise: false }, 12, 24, 2),
        once: true,
      },
      {
        name: 'experts straight from logits, in four buffers',
        params: routed({ experts: 7, topK: 2, renormalise: false }, 2 * 11, 70, 3, {
          out: 'swiglu',
          norm: 'rms',
          buffers: [2, 2, 2, 1],
        }),
      },
      {
        name: 'experts straight from logits, and the shared one',
        params: routedAndShared({ experts: 6, topK: 2, renormalise: false }, 2 * 14, 2 * 11, 70, 3, {
          out: 'swiglu',
          norm: 'rms',
        }),
      },
      {
        name: 'experts in two buffers, and a small shared one in a third',
        params: routedAndShared({ experts: 4, topK: 3, renormalise: false }, 7, 90, 64, 2, {
          format: 'f32',
          buffers: [2, 2, 1],
        }),
      },
      {
        name: 'experts in four buffers, and the shared one in a fifth',
        params: routedAndShared({ experts: 8, topK: 3, renormalise: false }, 9, 12, 64, 2, {
          buffers: [2, 2, 2, 2, 1],
        }),
        once: true,
      },
      {
        name: 'experts 1..5 straight from logits, in two buffers, f32',
        params: routed({ experts: 7, topK: 3, renormalise: false }, 18, 64, 2, {
          format: 'f32',
          shard: { expertBegin: 1, expertCount: 5, rowBegin: 0, rowCount: 18 },
          buffers: [3, 2],
        }),
      },
      { name: 'experts, pairs in', params: grouped(6, 33, 40, 12, 1, 1, { format: 'f16' }) },
      {
        name: 'experts, pairs in, three buffers',
        params: grouped(6, 33, 40, 30, 1, 4, { buffers: [2, 2, 2] }),
      },
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
      ...formatShapes(3, 2),
      ...formatVariants(),
    ],
    bench: [...linearBench(1, 1, 'rms'), ...formatBench(4, 4, 'rms', ['q8_0', 'q4_k'])],
  },
});
