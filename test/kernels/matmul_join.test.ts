import { matmul_join } from '../../src/kernels/matmul_join.ts';
import { testKernel } from '../harness.ts';

testKernel(matmul_join);
