import { rmsnorm } from '../../src/kernels/rmsnorm.ts';
import { testKernel } from '../harness.ts';

testKernel(rmsnorm);
