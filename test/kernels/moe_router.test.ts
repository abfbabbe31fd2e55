import { moe_router } from '../../src/kernels/moe_router.ts';
import { testKernel } from '../harness.ts';

testKernel(moe_router);
