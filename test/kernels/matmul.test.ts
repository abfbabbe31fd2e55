import { matmul } from '../../src/kernels/matmul.ts';
import { testKernel } from '../harness.ts';

testKernel(matmul);
