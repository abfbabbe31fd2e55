import { attentionCase, groupedHeads } from '../../src/kernels/attention_cases.ts';
import { mfa_decode } from '../../src/kernels/mfa_decode.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_decode);

/** How heads, keys and columns are dealt to invocations depends on the heads of a group and on head_dim. */
const dealt = [
  { name: '4 heads of 64: 16 key groups', params: attentionCase(4, 64, 'f32', 2, 96, [[0, 170]]) },
  { name: '12 heads of 96: idle lanes', params: attentionCase(12, 96, 'f16', 2, 64, [[0, 99]]) },
  { name: '40 heads of 128: 3 column parts', params: attentionCase(40, 128, 'f16', 1, 128, [[0, 101]]) },
  { name: '64 heads of 64: 2 key groups', params: attentionCase(64, 64, 'f32', 1, 64, [[0, 45]]) },
  { name: '36 heads of 512: odd quads', params: attentionCase(36, 512, 'f16', 1, 64, [[0, 34]]) },
];

/** Rows and scales of an e4m3 cache lie by pages and KV heads. */
const fp8 = [
  { name: 'fp8, context of one, head_dim 2', params: attentionCase(4, 2, 'fp8', 1, 64, [[0, 0]]) },
  { name: 'fp8, odd heads, head_dim 10', params: attentionCase(7, 10, 'fp8', 2, 64, [[0, 99]]) },
  { name: 'fp8, head_dim 512', params: attentionCase(5, 512, 'fp8', 1, 64, [[0, 40]]) },
  {
    name: 'fp8, 8 KV heads, ragged, window of 100 in a ring of 3 pages',
    params: groupedHeads(
      16,
      8,
      16,
      'fp8',
      2,
      64,
      [
        [0, 500],
        [0, 501],
        [1, 98],
        [2, 0],
      ],
      { window: 100, maxPages: 3 },
    ),
  },
];

testKernel({
  ...mfa_decode,
  name: 'mfa_decode',
  shapes: { ...mfa_decode.shapes, test: [...dealt, ...fp8] },
});
