import { qk_norm_rope } from '../../src/kernels/qk_norm_rope.ts';
import { testKernel } from '../harness.ts';

testKernel(qk_norm_rope);
