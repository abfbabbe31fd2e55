/** Matrices whose parts are in different formats, and formats that rows do not fit. */
import { expect, it } from 'vitest';
import { layerFacts, preset } from '../../src/config/index.ts';
import { WeightError } from '../../src/errors.ts';
import type { RowFormat } from '../../src/formats/index.ts';
import { qkvLayout, weightLayout } from '../../src/weights/layout.ts';

/** Widths that all block formats allow. */
const CONFIG = { ...preset('step3-tiny'), hidden_size: 256, share_q_dim: 256, head_dim: 32 };

const byName =
  (...rules: readonly (readonly [pattern: string, row: RowFormat])[]) =>
  (tensor: string): RowFormat =>
    rules.find(([pattern]) => tensor.includes(pattern))?.[1] ?? { format: 'bf16' };

it('a fused matrix is cut where its parts change their format', () => {
  const formats = byName(['q_proj', { format: 'q4_k' }], ['k_proj', { format: 'q6_k' }]);
  const matrix = weightLayout(CONFIG, formats, 2 ** 30).matrices.get('layers.0.qkv_proj')!;
  const { keyAt, valueAt, width } = qkvLayout(layerFacts(CONFIG, 0).attention);
  const one = { expertBegin: 0, expertCount: 1 };
  expect(matrix.shards).toEqual([
    { ...one, format: 'q4_k', rowBegin: 0, rowCount: keyAt },
    { ...one, format: 'q6_k', rowBegin: keyAt, rowCount: valueAt - keyAt },
    { ...one, format: 'bf16', rowBegin: valueAt, rowCount: width - valueAt },
  ]);
});

it('parts of one format stay together', () => {
  const formats = byName(['self_attn.', { format: 'q8_0' }]);
  const matrix = weightLayout(CONFIG, formats, 2 ** 30).matrices.get('layers.0.qkv_proj')!;
  expect(matrix.shards).toHaveLength(1);
});

it('gate and up rows alternate, so they must be in one format', () => {
  const formats = byName(['gate_proj', { format: 'q4_k' }], ['up_proj', { format: 'q6_k' }]);
  const run = () => weightLayout(CONFIG, formats, 2 ** 30);
  expect(run).toThrow(WeightError);
  expect(run).toThrow(/up_proj\.weight.*expected the format of .*gate_proj\.weight, q4_k, found q6_k/);
});

it.each([
  { row: { format: 'q4_k' }, hidden: 264, message: /whole q4_k blocks of 256 columns/ },
  { row: { format: 'q8_0' }, hidden: 264, message: /whole q8_0 blocks of 32 columns/ },
  {
    row: { format: 'int4', group: 24 },
    hidden: 264,
    message: /groups of a multiple of 32 columns or of the whole row/,
  },
] as const)('$row.format rows of $hidden columns are refused', ({ row, hidden, message }) => {
  const config = { ...CONFIG, hidden_size: hidden };
  const run = () => weightLayout(config, byName(['k_proj', row]), 2 ** 30);
  expect(run).toThrow(WeightError);
  expect(run).toThrow(message);
});
