import { moe_combine } from '../../src/kernels/moe_combine.ts';
import { testKernel } from '../harness.ts';

testKernel(moe_combine);
