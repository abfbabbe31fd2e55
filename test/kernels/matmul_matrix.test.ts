import { matmul_matrix } from '../../src/kernels/matmul_matrix.ts';
import { testKernel } from '../harness.ts';

testKernel(matmul_matrix);
