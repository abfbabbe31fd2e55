import { moe_down } from '../../src/kernels/moe_down.ts';
import { testKernel } from '../harness.ts';

testKernel(moe_down);
