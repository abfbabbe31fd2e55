import { mfa_matrix } from '../../src/kernels/mfa_matrix.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_matrix);
