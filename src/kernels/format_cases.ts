/** Shapes of linear layers in compressed formats, for test and benchmark lists. */
import { BLOCK_FORMATS } from '../formats/blocks.ts';
import type { RowFormat } from '../formats/index.ts';
import type { WeightFormat } from '../tensor.ts';
import type { Shape } from './kernel.ts';
import { dense, grouped, type LinearParams } from './linear.ts';
import { routed } from './linear_cases.ts';

/** A format with widths that it allows: one that is small and, where it may be, no multiple of anything. */
export interface FormatCase extends RowFormat {
  readonly name: string;
  readonly K: number;
}

const BLOCKS: readonly FormatCase[] = Object.entries(BLOCK_FORMATS).map(([name, { cols }]) => ({
  name,
  format: name as WeightFormat,
  K: cols === 256 ? 512 : 352,
}));

const GROUPS: readonly FormatCase[] = [
  { name: 'fp8', format: 'fp8', group: 128, K: 205 },
  { name: 'fp8, whole groups', format: 'fp8', group: 128, K: 1024 },
  { name: 'int4, groups of 32', format: 'int4', group: 32, K: 352 },
  { name: 'int4, groups of 128', format: 'int4', group: 128, K: 384 },
  { name: 'int4, one group a row', format: 'int4', group: 72, K: 72 },
];

/** Every compressed format. */
export const FORMAT_CASES: readonly FormatCase[] = [...BLOCKS, ...GROUPS];

/** One format of each way to scale: their shapes are tested in every way. */
export const MAIN_FORMATS: readonly FormatCase[] = FORMAT_CASES.filter(({ name }) =>
  ['q4_k', 'q6_k', 'fp8', 'int4, groups of 32'].includes(name),
);

const rowOf = ({ format, group }: FormatCase): RowFormat =>
  group === undefined ? { format } : { format, group };

/** Every format once, with 70 rows, for `tokens` tokens in tiles of `tile`. */
export function formatShapes(tokens: number, tile: number): Shape<LinearParams>[] {
  return FORMAT_CASES.map((c) => ({
    name: c.name,
    params: dense(70, c.K, tokens, { tile, ...rowOf(c) }),
    once: true,
  }));
}

/** The main formats with what matvec folds in. */
export function formatVariants(): Shape<LinearParams>[] {
  return MAIN_FORMATS.flatMap((c) => [
    { name: `${c.name}, norm, tile of 2`, params: dense(21, c.K, 3, { tile: 2, norm: 'rms', ...rowOf(c) }) },
    {
      name: `${c.name}, residual, tile of 4`,
      params: dense(21, c.K, 7, { tile: 4, out: 'add', ...rowOf(c) }),
      once: true,
    },
    {
      name: `${c.name}, experts straight from logits, in two buffers`,
      params: routed({ experts: 5, topK: 2, renormalise: false }, 22, c.K, 3, {
        out: 'swiglu',
        norm: 'rms',
        buffers: [3, 2],
        ...rowOf(c),
      }),
      once: true,
    },
    {
      name: `${c.name}, experts 1..3 of 5, pairs in`,
      params: grouped(5, 24, c.K, 12, 1, 4, {
        shard: { expertBegin: 1, expertCount: 3, rowBegin: 0, rowCount: 24 },
        ...rowOf(c),
      }),
      once: true,
    },
  ]);
}

/** Shapes to time: a wide layer and one of few rows, for each format. */
export function formatBench(tokens: number, tile: number, norm: 'none' | 'rms'): Shape<LinearParams>[] {
  return [...BLOCKS, GROUPS[1], GROUPS[2], GROUPS[3]].flatMap((c) => [
    bench(
      `${c.name}, gate/up 36864x7168`,
      dense(36864, 7168, tokens, { tile, norm, out: 'swiglu', ...rowOf(c) }),
    ),
    bench(`${c.name}, down 7168x18432`, dense(7168, 18432, tokens, { tile, out: 'add', ...rowOf(c) })),
    bench(`${c.name}, qkv 2560x7168`, dense(2560, 7168, tokens, { tile, norm, ...rowOf(c) })),
  ]);
}

const bench = (name: string, params: LinearParams): Shape<LinearParams> => ({ name, params, set: 'real' });
