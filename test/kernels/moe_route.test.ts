import { moe_route } from '../../src/kernels/moe_route.ts';
import { testKernel } from '../harness.ts';

testKernel(moe_route);
