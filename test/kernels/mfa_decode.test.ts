import { attentionCase, mfa_decode } from '../../src/kernels/mfa_decode.ts';
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

testKernel({ ...mfa_decode, name: 'mfa_decode', shapes: { ...mfa_decode.shapes, test: dealt } });
