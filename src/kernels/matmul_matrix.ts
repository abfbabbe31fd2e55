/** Linear layer for many tokens, of 16-bit or compressed weights, on adapters with matrix units (subgroup matrices). */
import { KernelError } from '../errors.ts';
import { isPlain, padRow } from '../tensor.ts';
import type { WgslName } from '../wgsl/generated.ts';
import type { Constants } from '../wgsl/specialise.ts';
import { formatBench, matrixShapes } from './format_cases.ts';
import { type BindingSpec, defineKernel, type Kernel, MATRIX_UNITS, type Tolerance } from './kernel.ts';
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
  resultCost,
  xRows,
} from './linear.ts';
import { linearBench } from './linear_bench.ts';
import { fusedQkv, queryHeads } from './linear_cases.ts';
import { isRope, yLib } from './linear_out.ts';
import { linearReference } from './linear_reference.ts';
import {
  denseLayout,
  expertLayout,
  HALF_TILE,
  hasTile,
  MATRIX_TILES,
  type MatrixLayout,
  type MatrixShape,
  matrixSplit,
} from './matrix_layout.ts';
import { partColumns, partsBinding, type SplitK, splitRows, splitTiles } from './split_k.ts';

/** A dense product as its layout is chosen by. */
const shapeOf = ({ format, out, tokens, shard, K, tile }: LinearParams): MatrixShape => ({
  plain: isPlain(format),
  roped: isRope(out),
  tokens,
  rows: shard.rowCount,
  K,
  tile,
});

/** Which columns of a dense layer several workgroups are best to share, if any. */
export function splitOf(p: LinearParams): SplitK | undefined {
  return p.source.kind === 'grouped' ? undefined : matrixSplit(shapeOf(p));
}

/** How a workgroup is laid out. */
function matrixLayout(p: LinearParams): MatrixLayout {
  if (p.source.kind === 'grouped') return expertLayout(isPlain(p.format), p.tile);
  return denseLayout(shapeOf(p), p.splitK);
}

/** What is wrong with columns that are split, or undefined. */
function layoutFault(p: LinearParams): string | undefined {
  if (p.splitK === undefined) return undefined;
  const { from } = p.splitK;
  if (p.source.kind === 'grouped') return 'splitK: expected none for experts';
  if (p.tile !== 64 && p.tile !== 128) return `splitK: expected tiles of 64 or 128, got ${p.tile}`;
  const { rows } = matrixLayout(p);
  if (from % rows !== 0) return `splitK: expected whole tiles of ${rows} rows before, got ${from}`;
  return undefined;
}

/**
 * Of exact factors. Matrix units cut partial sums off instead of rounding them.
 *
 * Compressed weights are decoded in f32 and rounded once, by at most 2^-11 of themselves, as activations are: errors of K
 * products within ±1 add up like a random walk; q4_1 and q5_1 have a shift of their own, which doubles their range and puts
 * most weights at its upper end. SwiGLU multiplies two such sums.
 */
function tolerance(p: LinearParams): Tolerance {
  if (isPlain(p.format)) return { abs: 2e-4, rel: 1e-4, cosine: 1e-8 };
  const range = p.format === 'q4_1' || p.format === 'q5_1' ? 4 : 1;
  const walk = 2 ** -12 * range * Math.sqrt(Math.min(p.K, TESTED_COLUMNS));
  return {
    abs: 2e-4 + (p.out === 'swiglu' ? 4 : 1) * walk,
    rel: 1e-4 + 2 ** -11,
    cosine: 1e-8 + 2 ** -23,
  };
}

/** Constants of the library columns_parts. */
function splitConstants(p: LinearParams): Constants {
  const { splitK, K } = p;
  if (splitK === undefined) return {};
  const { from, parts } = splitK;
  return {
    FROM: from,
    PARTS: parts,
    COLUMNS: partColumns(K, parts),
    QUADS: splitRows(p.shard.rowCount, splitK) / 4,
  };
}

/** Library files that bring weights to matrices. */
function stagedLibs({ format, tile }: LinearParams): WgslName[] {
  const half = tile === HALF_TILE;
  const multiply = half ? 'lib/multiply_half' : 'lib/multiply_full';
  if (isPlain(format)) return ['lib/fetch_blocks', half ? 'lib/stage_half' : 'lib/stage_blocks', multiply];
  return ['lib/stage_units', half ? 'lib/units_behind' : 'lib/units_apart', multiply];
}

/** Columns up to which rows are tested; longer ones are timed, with weights that keep the size of a sum. */
const TESTED_COLUMNS = 1024;

/** Tokens and tiles that are timed. */
const TIMED = [
  [16, 16],
  [64, 64],
  [256, 128],
] as const;

/** Compressed formats whose large layers are timed. */
const TIMED_FORMATS = ['q8_0', 'q4_k', 'fp8, whole groups', 'int4, groups of 32'];

export const matmul_matrix: Kernel<LinearParams> = defineKernel<LinearParams>({
  name: 'matmul_matrix',
  summary:
    'y = out(x Wᵀ) on matrix units, x as f16; SwiGLU and residual folded in; dense, picked rows or experts',
  variants: [MATRIX_UNITS],
  libs: (p) => [
    ...linearLibs(p, false).filter((lib) => lib !== 'lib/x_blocks'),
    ...stagedLibs(p),
    yLib(p),
    p.splitK === undefined ? 'lib/columns_all' : 'lib/columns_parts',
    'lib/matrix_products',
  ],
  check(p) {
    linearCheck('matmul_matrix', p);
    const fail = (what: string): never => {
      throw new KernelError('matmul_matrix', what);
    };
    if (p.format === 'f32') fail('format: expected 16 bits a weight or compressed ones, got f32');
    if (p.norm !== 'none') fail(`norm: expected none (half_rows has it), got ${p.norm}`);
    if (!MATRIX_TILES.includes(p.tile)) fail(`tile: expected one of ${MATRIX_TILES}, got ${p.tile}`);
    if (!hasTile(p.tile, isPlain(p.format), p.source.kind === 'grouped')) {
      fail(`tile: expected other than ${p.tile} for ${p.source.kind} rows and ${p.format}`);
    }
    const fault = layoutFault(p);
    if (fault !== undefined) fail(fault);
  },
  constants: (p) => ({
    ...linearConstants(p),
    ...matrixLayout(p).constants,
    ...splitConstants(p),
    HALF: p.tile === HALF_TILE,
    SIZE: 32,
  }),
  uniforms: linearUniforms,
  bindings(p) {
    const bindings = linearBindings(p);
    // Padding up to a whole block is read, and meets weights of zero; half_rows wrote zeros there.
    const x: BindingSpec = { ...bindings.x, type: 'f16', cols: padRow(p.K) };
    const { splitK } = p;
    return {
      ...bindings,
      x,
      ...(splitK === undefined ? {} : { parts: partsBinding(p.tokens, p.shard.rowCount, splitK, 'out') }),
    };
  },
  workgroups(p) {
    const { rows } = matrixLayout(p);
    const { whole, parts } = splitTiles(p.shard.rowCount, rows, p.splitK);
    return linearGrid(p, whole + parts);
  },
  reference: linearReference,
  cost(p) {
    const cost = linearCost(p);
    const bytesRead = cost.bytesRead - xRows(p) * p.K * 2; // x has two bytes an element
    if (p.splitK === undefined) return { ...cost, bytesRead };
    // Sums of parts take the place of results, which matmul_join makes of them.
    const { from, parts } = p.splitK;
    const all = resultCost(p);
    const whole = resultCost({ ...p, shard: { ...p.shard, rowCount: from } });
    return {
      flops: cost.flops - all.flops + whole.flops,
      bytesRead: bytesRead - all.bytesRead + whole.bytesRead,
      bytesWritten: whole.bytesWritten + parts * p.tokens * (p.shard.rowCount - from) * 4, // sums
    };
  },
  tolerance,
  inputs: linearInputs,
  shapes: {
    test: [
      { name: 'one token, one row', params: dense(1, 1, 1, { tile: 16 }) },
      { name: 'exactly one tile', params: dense(64, 128, 16, { tile: 16 }) },
      { name: 'one over a tile each way', params: dense(65, 129, 17, { tile: 16 }) },
      { name: 'subgroups that share the columns', params: dense(6004, 300, 5, { tile: 16 }) },
      { name: 'many rows', params: dense(20_010, 40, 16, { tile: 16 }) },
      { name: 'more than some rows', params: dense(12_010, 72, 5, { tile: 16 }) },
      {
        name: 'two chunks and a bit of columns, f16',
        params: dense(70, 300, 20, { tile: 16, format: 'f16' }),
      },
      { name: 'wide: exactly one tile', params: dense(128, 64, 64, { tile: 64 }) },
      { name: 'wide: one over each way', params: dense(129, 70, 65, { tile: 64 }) },
      {
        name: 'widest: one under a tile each way',
        params: dense(127, 200, 127, { tile: 128, format: 'f16' }),
      },
      { name: 'wide: some rows', params: dense(4100, 136, 20, { tile: 64 }) },
      { name: 'wide: many rows', params: dense(20_010, 72, 40, { tile: 64 }) },
      { name: 'widest: one over', params: dense(140, 72, 130, { tile: 128 }) },
      { name: 'widest: many tiles', params: dense(8460, 40, 130, { tile: 128 }) },
      { name: 'widest: experts', params: grouped(3, 140, 72, 300, 1, 128) },
      {
        name: 'columns in three parts, one over each way',
        params: dense(66, 136, 65, { tile: 64, splitK: { from: 0, parts: 3 } }),
      },
      {
        name: 'rows past a tile in two parts, swiglu',
        params: dense(2 * 70, 200, 70, { tile: 128, out: 'swiglu', splitK: { from: 128, parts: 2 } }),
      },
      {
        name: 'query, key and value, of which some in two parts',
        params: fusedQkv(128, 16, 'f32', 72, 20, { tile: 128, splitK: { from: 128, parts: 2 } }),
      },
      {
        name: 'picked rows in two parts, q8_0',
        params: dense(40, 128, 9, {
          format: 'q8_0',
          tile: 64,
          source: { kind: 'picked', sourceRows: 30 },
          splitK: { from: 0, parts: 2 },
        }),
      },
      { name: 'residual', params: dense(50, 50, 30, { tile: 16, out: 'add' }) },
      { name: 'swiglu', params: dense(2 * 45, 64, 66, { tile: 64, out: 'swiglu' }) },
      { name: 'swiglu, as f16', params: dense(2 * 40, 64, 66, { tile: 64, out: 'swiglu', half: true }) },
      {
        name: 'experts, swiglu as f16, in a shard of rows',
        params: grouped(5, 2 * 40, 48, 200, 2, 16, {
          out: 'swiglu',
          half: true,
          shard: { expertBegin: 0, expertCount: 5, rowBegin: 20, rowCount: 60 },
        }),
      },
      {
        name: 'wide x, picked rows',
        params: dense(20, 24, 9, { tile: 16, xStride: 64, source: { kind: 'picked', sourceRows: 30 } }),
      },
      { name: 'query heads of 16', params: queryHeads(3, 16, 24, 20, { tile: 16 }) },
      { name: 'query, key and value', params: fusedQkv(40, 16, 'f32', 24, 20, { tile: 16 }) },
      { name: 'experts, tokens in', params: grouped(5, 2 * 20, 48, 200, 2, 16, { out: 'swiglu' }) },
      { name: 'experts, pairs in', params: grouped(5, 70, 40, 150, 1, 64) },
      { name: 'experts, tiles of 96', params: grouped(3, 140, 72, 300, 1, 96) },
      { name: 'experts, tiles of 8', params: grouped(5, 2 * 35, 300, 40, 2, 8, { out: 'swiglu' }) },
      { name: 'experts, tiles of 8, one pair each', params: grouped(9, 33, 128, 9, 1, 8, { format: 'f16' }) },
      {
        name: 'experts 1..2 of 4 in this shard',
        params: grouped(4, 24, 40, 130, 1, 16, {
          shard: { expertBegin: 1, expertCount: 2, rowBegin: 0, rowCount: 24 },
        }),
      },
      ...matrixShapes(),
    ],
    bench: TIMED.flatMap(([tokens, tile]) => [
      ...linearBench(tokens, tile, 'none'),
      ...formatBench(tokens, tile, 'none', TIMED_FORMATS),
    ]),
  },
});
