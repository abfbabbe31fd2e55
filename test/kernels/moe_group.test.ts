import { moe_group } from '../../src/kernels/moe_group.ts';
import { testKernel } from '../harness.ts';

testKernel(moe_group);
