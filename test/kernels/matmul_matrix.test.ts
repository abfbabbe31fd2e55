import { matmul_matrix } from '../../src/kernels/matmul_matrix.ts';
import { testEmulated } from '../emulated_units.ts';
import { testKernel } from '../harness.ts';

testKernel(matmul_matrix);
testEmulated(matmul_matrix);
